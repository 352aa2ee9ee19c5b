package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// environment is what values are completed from; a test brings its own.
type environment struct {
	lookup  func(string) (string, bool)
	environ func() []string
	cwd     func() (string, error)
	home    func() (string, error)
}

func osEnvironment() environment {
	return environment{os.LookupEnv, os.Environ, os.Getwd, os.UserHomeDir}
}

// expandEnv turns one -e into variables: KEY=VALUE is itself, KEY takes the
// value from the environment of berth (nothing where it is not set), KEY* every
// variable whose name begins so.
func (e environment) expandEnv(s string) ([]string, error) {
	key, _, given := strings.Cut(s, "=")
	if key == "" || strings.ContainsRune(s, 0) {
		return nil, errors.New("KEY=VALUE, or KEY to take the value from the environment")
	}
	if given {
		return []string{s}, nil
	}
	if prefix, ok := strings.CutSuffix(key, "*"); ok {
		var list []string
		for _, kv := range e.environ() {
			if strings.HasPrefix(kv, prefix) {
				list = append(list, kv)
			}
		}
		slices.Sort(list)
		return list, nil
	}
	if v, ok := e.lookup(key); ok {
		return []string{key + "=" + v}, nil
	}
	return nil, nil
}

// readEnvFile reads lines of KEY=VALUE or KEY. A value is taken as it stands:
// quotes and trailing blanks are part of it, as with Docker. Empty lines and
// those that begin with # do not count.
func (e environment) readEnvFile(path string) ([]string, error) {
	lines, err := readKeyValues(path)
	if err != nil {
		return nil, err
	}
	var env []string
	for _, line := range lines {
		kv, err := e.expandEnv(line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %q: want %w", path, line, err)
		}
		env = append(env, kv...)
	}
	return env, nil
}

// readKeyValues returns the lines of an environment or label file that count.
func readKeyValues(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines, err := splitKeyValues(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lines, nil
}

func splitKeyValues(data string) ([]string, error) {
	var lines []string
	n := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(data, "\ufeff"), "\n") {
		n++
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, _ := strings.Cut(line, "=")
		switch {
		case !utf8.ValidString(line) || strings.ContainsRune(line, 0):
			return nil, fmt.Errorf("line %d is no text", n)
		case key == "":
			return nil, fmt.Errorf("line %d: the name before '=' is missing", n)
		case strings.ContainsAny(strings.TrimRight(key, " \t"), " \t") || key != strings.TrimRight(key, " \t") && key != line:
			return nil, fmt.Errorf("line %d: blank in the name %q", n, key)
		}
		if key == line {
			line = strings.TrimRight(line, " \t")
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// parseKeyValue splits KEY=VALUE; KEY alone has an empty value.
func parseKeyValue(s string) ([2]string, error) {
	key, value, _ := strings.Cut(s, "=")
	if key == "" {
		return [2]string{}, errors.New("KEY=VALUE or KEY")
	}
	return [2]string{key, value}, nil
}

// parsePair splits KEY=VALUE, both there.
func parsePair(s string) ([2]string, error) {
	key, value, found := strings.Cut(s, "=")
	if key == "" || !found {
		return [2]string{}, errors.New("KEY=VALUE")
	}
	return [2]string{key, value}, nil
}

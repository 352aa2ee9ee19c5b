package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/berthrun/berth/container"
)

// Config is what the files say, with defaults where they are silent.
type Config struct {
	Root string // what survives a reboot
	Run  string // what does not

	// Libexec is where berth-shim and its like are.
	Libexec string

	Runtimes map[string]string // name → path of an OCI runtime
	Runtime  string            // the default one

	LogDriver   string
	PidsLimit   int64 // default limit of processes, 0: none
	StopTimeout time.Duration
	ShmSize     int64

	Insecure []string // registries spoken to without TLS verification or by plain HTTP
}

// Default is the configuration without any file.
func Default() *Config {
	return &Config{
		Root:    container.DefaultRoot,
		Run:     container.DefaultRun,
		Libexec: "/usr/libexec/berth",
		Runtimes: map[string]string{
			"berth-runtime": "/usr/libexec/berth/berth-runtime",
			"crun":          "crun",
			"runc":          "runc",
			"youki":         "youki",
		},
		Runtime:     "berth-runtime",
		LogDriver:   "journald",
		PidsLimit:   2048,
		StopTimeout: 10 * time.Second,
		ShmSize:     64 << 20,
	}
}

// directories in rising order of priority; of two drop-ins with one name the
// later directory's counts.
var directories = []string{"/usr/lib/berth", "/run/berth", "/etc/berth"}

// Load reads the machine's configuration. The environment variables BERTH_ROOT,
// BERTH_RUN and BERTH_LIBEXEC override the files, for tests and for trying out.
func Load() (*Config, error) { return load(directories) }

func load(dirs []string) (*Config, error) {
	c := Default()
	for _, path := range files(dirs) {
		if err := c.loadFile(path); err != nil {
			return nil, err
		}
	}
	for name, field := range map[string]*string{"BERTH_ROOT": &c.Root, "BERTH_RUN": &c.Run, "BERTH_LIBEXEC": &c.Libexec} {
		v := os.Getenv(name)
		if v == "" {
			continue
		}
		path, err := absolute(v)
		if err != nil {
			return nil, fmt.Errorf("environment %s=%s: %w", name, v, err)
		}
		*field = path
	}
	d := Default()
	if c.Runtimes[d.Runtime] == d.Runtimes[d.Runtime] { // no file says where it is
		c.Runtimes[d.Runtime] = filepath.Join(c.Libexec, d.Runtime)
	}
	return c, nil
}

// files lists the configuration files that are there, in reading order.
func files(dirs []string) []string {
	var list []string
	dropIns := map[string]string{}
	for _, d := range dirs {
		if main := filepath.Join(d, "berth.conf"); isFile(main) && !strings.HasSuffix(d, "/run/berth") {
			list = append(list, main)
		}
		matches, _ := filepath.Glob(filepath.Join(d, "berth.conf.d", "*.conf"))
		for _, m := range matches {
			dropIns[filepath.Base(m)] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		list = append(list, dropIns[name])
	}
	return list
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

func (c *Config) loadFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if err := c.read(f); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

func (c *Config) read(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if line := firstLine(string(data)); line != "" && line[0] != '[' {
		return fmt.Errorf("%.60s: stands before the first [Section]", line) // DeserializeOptions would pass it over
	}
	options, err := unit.DeserializeOptions(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for _, o := range options {
		set, ok := keys[o.Section+"."+o.Name]
		if o.Section == "Runtimes" {
			set, ok = runtimePath(o.Name), true
		}
		if !ok {
			return fmt.Errorf("unknown setting %s= in section [%s]", o.Name, o.Section)
		}
		if err := set(c, o.Value); err != nil {
			return fmt.Errorf("%s=%s: %w", o.Name, o.Value, err)
		}
	}
	return nil
}

// firstLine is the first one that is no comment.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
			return line
		}
	}
	return ""
}

// keys is every setting but those of [Runtimes]: SECTION.KEY and how its value
// is taken.
var keys = map[string]setter{
	"Engine.Root":           value(absolute, func(c *Config) *string { return &c.Root }),
	"Engine.Run":            value(absolute, func(c *Config) *string { return &c.Run }),
	"Engine.Runtime":        value(word, func(c *Config) *string { return &c.Runtime }),
	"Container.LogDriver":   value(word, func(c *Config) *string { return &c.LogDriver }),
	"Container.PidsLimit":   value(number, func(c *Config) *int64 { return &c.PidsLimit }),
	"Container.ShmSize":     value(number, func(c *Config) *int64 { return &c.ShmSize }),
	"Container.StopTimeout": value(duration, func(c *Config) *time.Duration { return &c.StopTimeout }),
	"Registries.Insecure":   list(func(c *Config) *[]string { return &c.Insecure }),
}

// setter takes the value of one setting.
type setter func(c *Config, v string) error

// value takes one value; an empty one is the default again.
func value[T any](parse func(string) (T, error), field func(*Config) *T) setter {
	return func(c *Config, v string) (err error) {
		if v == "" {
			*field(c) = *field(Default())
			return nil
		}
		*field(c), err = parse(v)
		return err
	}
}

// list adds words; an empty value drops those before it.
func list(field func(*Config) *[]string) setter {
	return func(c *Config, v string) error {
		if v == "" {
			*field(c) = nil
		}
		*field(c) = append(*field(c), strings.Fields(v)...)
		return nil
	}
}

func runtimePath(name string) setter {
	return func(c *Config, v string) error {
		switch {
		case v == "":
			delete(c.Runtimes, name)
			if path, ok := Default().Runtimes[name]; ok {
				c.Runtimes[name] = path
			}
		case strings.Contains(v, "/") && !filepath.IsAbs(v):
			return errors.New("must be a command or an absolute path")
		default:
			c.Runtimes[name] = v
		}
		return nil
	}
}

func absolute(v string) (string, error) {
	if !filepath.IsAbs(v) {
		return "", errors.New("must be an absolute path")
	}
	return filepath.Clean(v), nil
}

func word(v string) (string, error) { return v, nil }

func number(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || v[0] == '+' {
		return 0, errors.New("must be a whole number, 0 or more")
	}
	return n, nil
}

func duration(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, errors.New("must be a duration, such as 10s")
	}
	return d, nil
}

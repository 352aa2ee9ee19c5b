package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// canonical rewrites the arguments of one verb into --name=value for each flag,
// then --, then everything else. Podman's command line allows -it, -eA=1, -n5,
// flags after names and two spellings of one flag side by side; the flag
// library reads the result without having to know any of that.
//
// With interspersed false the first argument that is no flag ends the flags:
// the rest belongs to the container's command.
//
// Asking for help ends it at once: help is true and nothing else counts.
func canonical(flags []cli.Flag, args []string, interspersed bool) (flagArgs, rest []string, help bool, err error) {
	t := newFlagTable(flags)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return flagArgs, append(rest, args...), false, nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			rest = append(rest, arg)
			if !interspersed {
				return flagArgs, append(rest, args...), false, nil
			}
		case arg == "--help" || arg == "-h" && t.byName["h"] == nil:
			return nil, nil, true, nil
		case strings.HasPrefix(arg, "--"):
			args, err = t.long(&flagArgs, arg, args)
		default:
			args, err = t.short(&flagArgs, arg, args)
		}
		if err != nil {
			return nil, nil, false, err
		}
	}
	return flagArgs, rest, false, nil
}

// bareFlag is a flag whose value may be left out; it can only be given as
// --name=value then, and means Bare otherwise.
type bareFlag struct {
	*cli.StringFlag
	Bare string
}

// flagTable finds a flag by any of its names.
type flagTable struct {
	byName map[string]cli.Flag
}

func newFlagTable(flags []cli.Flag) flagTable {
	t := flagTable{make(map[string]cli.Flag, 2*len(flags))}
	for _, f := range flags {
		for _, n := range f.Names() {
			t.byName[n] = f
		}
	}
	return t
}

// long takes --name, --name=value or --name value.
func (t flagTable) long(out *[]string, arg string, args []string) ([]string, error) {
	name, value, given := strings.Cut(arg[2:], "=")
	f := t.byName[name]
	if f == nil || len(name) < 2 {
		return nil, t.unknown(name)
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		if !given {
			value = "true"
		}
		return args, addBool(out, f, name, value)
	case *bareFlag:
		if !given {
			value = f.Bare
		}
	default:
		if !given {
			if len(args) == 0 {
				return nil, fmt.Errorf("--%s needs %s", name, article(metavar(f)))
			}
			value, args = args[0], args[1:]
		}
	}
	add(out, f, value)
	return args, nil
}

// short takes a cluster such as -it, -eA=1 or -n 5: flags without a value, the
// last of which may take the rest of the argument, or the next one, as its value.
func (t flagTable) short(out *[]string, arg string, args []string) ([]string, error) {
	for letters := arg[1:]; letters != ""; {
		name := letters[:1]
		letters = letters[1:]
		f := t.byName[name]
		if f == nil {
			hint := ""
			if long, _, _ := strings.Cut(arg[1:], "="); t.byName[long] != nil {
				hint = ": did you mean -" + arg + "?"
			} else if len(arg) > 2 {
				hint = " in " + arg
			}
			return nil, &unknownFlagError{name, hint}
		}
		if b, ok := f.(*cli.BoolFlag); ok {
			value := "true"
			if v, found := strings.CutPrefix(letters, "="); found {
				value, letters = v, ""
			}
			if err := addBool(out, b, name, value); err != nil {
				return nil, err
			}
			continue
		}
		value := strings.TrimPrefix(letters, "=")
		if letters == "" {
			if len(args) == 0 {
				return nil, fmt.Errorf("-%s needs %s", name, article(metavar(f)))
			}
			value, args = args[0], args[1:]
		}
		add(out, f, value)
		break
	}
	return args, nil
}

func addBool(out *[]string, f *cli.BoolFlag, name, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return badValue(name, value, "true or false")
	}
	add(out, f, strconv.FormatBool(b))
	return nil
}

func add(out *[]string, f cli.Flag, value string) {
	*out = append(*out, "--"+f.Names()[0]+"="+value)
}

func (t flagTable) unknown(name string) error {
	names := make([]string, 0, len(t.byName))
	for n := range t.byName {
		if len(n) > 1 {
			names = append(names, n)
		}
	}
	hint := ""
	if n := nearest(name, names); n != "" {
		hint = ": did you mean --" + n + "?"
	}
	return &unknownFlagError{name, hint}
}

type unknownFlagError struct{ name, hint string }

func (e *unknownFlagError) Error() string { return "unknown flag " + dashed(e.name) + e.hint }

// badValue is the error of every flag value that is not understood: the flag,
// the value, what is accepted.
func badValue(flag, value, want string) error {
	return fmt.Errorf("%s %q: want %s", dashed(flag), value, want)
}

func dashed(flag string) string {
	if len(flag) == 1 {
		return "-" + flag
	}
	return "--" + flag
}

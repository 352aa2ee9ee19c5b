package main

import (
	"errors"
	"fmt"
	"strings"
)

// errHelp says that a verb was asked for its help.
var errHelp = errors.New("help")

// usageError is a command line that makes no sense.
type usageError struct{ error }

// flagSet parses flags as runc's command line has them: long or short, with
// one dash or two, the value after '=' or in the next argument, flags before
// the arguments. The standard package flag does the same, but without two names
// for one flag and at a higher price: this process lives three milliseconds.
type flagSet struct {
	bools map[string]*bool
	strs  map[string]func(string) error
}

func newFlags() *flagSet {
	return &flagSet{bools: map[string]*bool{}, strs: map[string]func(string) error{}}
}

func (f *flagSet) flag(p *bool, names ...string) {
	for _, n := range names {
		f.bools[n] = p
	}
}

func (f *flagSet) str(p *string, names ...string) {
	f.fn(func(v string) error { *p = v; return nil }, names...)
}

func (f *flagSet) list(p *[]string, names ...string) {
	f.fn(func(v string) error { *p = append(*p, v); return nil }, names...)
}

func (f *flagSet) fn(set func(string) error, names ...string) {
	for _, n := range names {
		f.strs[n] = set
	}
}

// parseAll takes the flags out of args, before the arguments or after, and
// returns the arguments.
func (f *flagSet) parseAll(args []string) ([]string, error) {
	var rest []string
	for len(args) > 0 {
		tail, err := f.parse(args)
		if err != nil {
			return nil, err
		}
		if n := len(args) - len(tail); n > 0 && args[n-1] == "--" {
			return append(rest, tail...), nil
		}
		args = nil
		if len(tail) > 0 {
			rest, args = append(rest, tail[0]), tail[1:]
		}
	}
	return rest, nil
}

// parse takes the flags off the front of args and returns the rest.
func (f *flagSet) parse(args []string) ([]string, error) {
	for len(args) > 0 {
		arg := args[0]
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		args = args[1:]
		if arg == "--" {
			break
		}
		name, value, has := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if b, ok := f.bools[name]; ok {
			switch {
			case !has || value == "true" || value == "1":
				*b = true
			case value == "false" || value == "0":
				*b = false
			default:
				return nil, fmt.Errorf("flag %s: %q is neither true nor false", name, value)
			}
			continue
		}
		set, ok := f.strs[name]
		if !ok && (name == "help" || name == "h") {
			return nil, errHelp
		}
		if !ok {
			return nil, usageError{fmt.Errorf("flag provided but not defined: -%s", name)}
		}
		if !has {
			if len(args) == 0 {
				return nil, usageError{fmt.Errorf("flag needs an argument: -%s", name)}
			}
			value, args = args[0], args[1:]
		}
		if err := set(value); err != nil {
			return nil, fmt.Errorf("flag %s: %w", name, err)
		}
	}
	return args, nil
}

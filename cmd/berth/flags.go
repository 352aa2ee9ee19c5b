package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// str, strs and boolean make flags. names has the long name first, then other
// spellings; usage has the placeholder for the value in backquotes where it
// reads well there, otherwise meta is it.

func str(names, usage, meta string) cli.Flag {
	n := strings.Fields(names)
	return &cli.StringFlag{Name: n[0], Aliases: n[1:], Usage: usage, DefaultText: meta}
}

// strs may be repeated. A comma or a blank in a value stays what it is.
func strs(names, usage, meta string) cli.Flag {
	n := strings.Fields(names)
	return &cli.StringSliceFlag{Name: n[0], Aliases: n[1:], Usage: usage, DefaultText: meta, KeepSpace: true}
}

func boolean(names, usage string) cli.Flag {
	n := strings.Fields(names)
	return &cli.BoolFlag{Name: n[0], Aliases: n[1:], Usage: usage}
}

// booleanOn is on unless --name=false is given.
func booleanOn(names, usage string) cli.Flag {
	n := strings.Fields(names)
	return &cli.BoolFlag{Name: n[0], Aliases: n[1:], Usage: usage, Value: true}
}

// accepted flags have no effect here and hurt nobody: help does not show them.
func accepted(f cli.Flag) cli.Flag {
	switch f := f.(type) {
	case *cli.BoolFlag:
		f.Hidden = true
	case *cli.StringFlag:
		f.Hidden = true
	case *cli.StringSliceFlag:
		f.Hidden = true
	}
	return f
}

// metavar is the placeholder for a flag's value; empty for one that has none.
func metavar(f cli.Flag) string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return f.DefaultText
	case *cli.StringSliceFlag:
		return f.DefaultText
	case *bareFlag:
		return f.DefaultText
	}
	return ""
}

// article puts "a" or "an" before a placeholder.
func article(meta string) string {
	if meta == "" {
		return "a value"
	}
	if strings.ContainsRune("AEIO", rune(meta[0])) {
		return "an " + meta
	}
	return "a " + meta
}

// Families of flags that verbs share.

func formatFlag() cli.Flag {
	return str("format f", "print by a Go template, or \"json\"", "TEMPLATE")
}

func filterFlag() cli.Flag {
	return strs("filter", "only what matches, e.g. status=exited; may be repeated", "KEY=VALUE")
}

func latestFlag() cli.Flag {
	return boolean("latest l", "the container that was made last")
}

func timeFlag() cli.Flag {
	return str("time t timeout", "wait so long for the container to stop before it is killed", "SECONDS")
}

func detachKeysFlag() cli.Flag {
	return str("detach-keys", "leave the container by this sequence of keys (default ctrl-p,ctrl-q; empty: none)", "KEYS")
}

// notYet gives a flag that Podman and Docker have and v has not yet an answer of
// its own instead of "unknown flag".
func (v *verb) notYet(err error) error {
	var u *unknownFlagError
	if errors.As(err, &u) && slices.Contains(strings.Fields(v.later), u.name) {
		return fmt.Errorf("%s is not supported yet", dashed(u.name))
	}
	return err
}

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// helpTop lists the verbs.
func (a *app) helpTop() error {
	fmt.Fprint(a.out, "berth runs containers as systemd units, without an engine of its own.\n\n"+
		"Usage: berth [GLOBAL FLAG...] COMMAND [FLAG...] [ARGUMENT...]\n")
	var headings []string
	rows := map[string][][2]string{}
	for _, v := range a.verbs {
		if v.hidden || v.top == "" {
			continue
		}
		if rows[v.group] == nil {
			headings = append(headings, v.group)
		}
		rows[v.group] = append(rows[v.group], [2]string{v.names("")[0], v.short})
	}
	for _, h := range headings {
		fmt.Fprintf(a.out, "\n%s:\n", h)
		a.columns(rows[h])
	}
	fmt.Fprint(a.out, "\nThe same by kind:\n")
	var kinds [][2]string
	for _, g := range groups {
		kinds = append(kinds, [2]string{g.name, g.short + ": berth " + g.name + " --help"})
	}
	a.columns(kinds)
	fmt.Fprint(a.out, "\nGlobal flags:\n")
	a.columns(flagRows(globalFlags()))
	fmt.Fprint(a.out, "\nMore on one command: berth help COMMAND, or berth COMMAND --help.\n")
	return nil
}

// helpGroup lists the verbs of berth container or berth image.
func (a *app) helpGroup(group string) error {
	fmt.Fprintf(a.out, "Usage: berth %s COMMAND [FLAG...] [ARGUMENT...]\n\nCommands:\n", group)
	var rows [][2]string
	for _, v := range a.verbs {
		if names := v.names(group); len(names) > 0 && !v.hidden {
			rows = append(rows, [2]string{names[0], v.short})
		}
	}
	a.columns(rows)
	return nil
}

// helpVerb explains one verb, called by path.
func (a *app) helpVerb(v *verb, path string) error {
	w := a.out
	fmt.Fprintf(w, "%s.\n\nUsage: berth %s", v.short, path)
	var rows [][2]string
	if v.flags != nil {
		rows = flagRows(v.flags())
		w.WriteString(" [FLAG...]")
	}
	if v.args != "" {
		w.WriteString(" " + v.args)
	}
	w.WriteByte('\n')
	if v.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(v.long))
	}
	if v.examples != "" {
		fmt.Fprint(w, "\nExamples:\n")
		for line := range strings.Lines(strings.TrimSpace(v.examples)) {
			w.WriteString("  " + strings.TrimSpace(line) + "\n")
		}
	}
	if len(rows) > 0 {
		fmt.Fprint(w, "\nFlags:\n")
		a.columns(rows)
	}
	if other := otherNames(v, path); other != "" {
		fmt.Fprintf(w, "\nAlso called: %s\n", other)
	}
	return nil
}

// otherNames lists the other ways to call v.
func otherNames(v *verb, path string) string {
	var list []string
	for _, group := range []string{"", "container", "image"} {
		for _, n := range v.names(group) {
			if full := strings.TrimSpace(group + " " + n); full != path {
				list = append(list, "berth "+full)
			}
		}
	}
	return strings.Join(list, ", ")
}

// flagRows is the left and right column of each flag that help shows, by the
// alphabet.
func flagRows(flags []cli.Flag) [][2]string {
	flags = slices.SortedStableFunc(slices.Values(flags), func(a, b cli.Flag) int { return strings.Compare(longest(a), longest(b)) })
	var rows [][2]string
	for _, f := range flags {
		usage, visible := usageOf(f)
		if !visible {
			continue
		}
		rows = append(rows, [2]string{flagNames(f), strings.ReplaceAll(usage, "`", "")})
	}
	return append(rows, [2]string{"    --help", "print this"})
}

func usageOf(f cli.Flag) (usage string, visible bool) {
	switch f := f.(type) {
	case *cli.BoolFlag:
		if f.Value {
			return f.Usage + " (default on; --" + f.Name + "=false turns it off)", !f.Hidden
		}
		return f.Usage, !f.Hidden
	case *cli.StringFlag:
		return f.Usage, !f.Hidden
	case *cli.StringSliceFlag:
		return f.Usage, !f.Hidden
	case *bareFlag:
		return f.Usage, !f.Hidden
	}
	return "", false
}

// longest is the first of a flag's names that is not one letter.
func longest(f cli.Flag) string {
	names := f.Names()
	for _, n := range names {
		if len(n) > 1 {
			return n
		}
	}
	return names[0]
}

// flagNames is "-e, --env KEY=VALUE".
func flagNames(f cli.Flag) string {
	short := "    "
	var long []string
	for _, n := range f.Names() {
		if len(n) == 1 && short == "    " {
			short = "-" + n + ", "
		} else {
			long = append(long, dashed(n))
		}
	}
	s := short + strings.Join(long, ", ")
	if m := metavar(f); m != "" {
		s += " " + m
	}
	return s
}

// columns prints rows as two columns, the right one wrapped to the terminal.
func (a *app) columns(rows [][2]string) {
	const most = 30 // a longer left column gets a line of its own
	left := 0
	for _, r := range rows {
		if n := len(r[0]); n <= most {
			left = max(left, n)
		}
	}
	width := 80
	if w, _, err := term.GetSize(int(a.std.out.Fd())); err == nil && w > 40 {
		width = min(w, 120)
	}
	indent := "\n" + strings.Repeat(" ", left+4)
	for _, r := range rows {
		fmt.Fprintf(a.out, "  %-*s", left, r[0])
		if len(r[0]) > left {
			a.out.WriteString(indent)
		} else {
			a.out.WriteString("  ")
		}
		column := left + 4
		for i, word := range strings.Fields(r[1]) {
			switch {
			case i == 0:
			case column+1+len(word) > width:
				a.out.WriteString(indent)
				column = left + 4
			default:
				a.out.WriteByte(' ')
				column++
			}
			a.out.WriteString(word)
			column += len(word)
		}
		a.out.WriteByte('\n')
	}
}

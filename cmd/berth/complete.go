package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/config"
	"github.com/berthrun/berth/image"
)

// completeVerb is what contrib/completions calls: given the words of a command
// line, the last of which is being typed, it prints what may stand there. The
// same tables as for running verbs answer, so that the two cannot differ.
func completeVerb() *verb {
	return &verb{
		top: "__complete", args: "[WORD...]", max: -1, command: true, hidden: true,
		short: "Print completions of a command line",
		run: func(c *call) error {
			if len(c.args) == 0 {
				return nil
			}
			for _, s := range c.complete(c.args) {
				c.println(s)
			}
			return nil
		},
	}
}

// fileWord is the answer that has the shell complete file names.
const fileWord = ":file"

func (c *call) complete(words []string) []string {
	last := words[len(words)-1]
	words = words[:len(words)-1]
	words = skipFlags(globalFlags(), words)
	if len(words) == 0 {
		if strings.HasPrefix(last, "-") {
			return matching(last, flagWords(globalFlags()))
		}
		return matching(last, c.verbNames(""))
	}
	for _, g := range groups {
		if words[0] == g.name && len(words) == 1 {
			return matching(last, c.verbNames(g.name))
		}
	}
	v, _, rest, err := c.find(words)
	if err != nil || v == nil {
		return nil
	}
	return c.completeVerb(v, rest, last)
}

// completeVerb completes what follows a verb.
func (c *call) completeVerb(v *verb, rest []string, last string) []string {
	var flags []cli.Flag
	if v.flags != nil {
		flags = v.flags()
	}
	if f := openFlag(flags, rest); f != nil {
		return c.flagValues(f, last)
	}
	_, args, _, err := canonical(flags, rest, !v.command)
	if err != nil {
		return nil
	}
	if name, value, found := strings.Cut(last, "="); found && strings.HasPrefix(name, "--") {
		if f := newFlagTable(flags).byName[name[2:]]; f != nil {
			return c.flagValues(f, value)
		}
	}
	if v.command && len(args) > 0 {
		return []string{fileWord}
	}
	if strings.HasPrefix(last, "-") {
		return matching(last, flagWords(flags))
	}
	return matching(last, c.argWords(v, len(args)))
}

// skipFlags drops the flags that words begin with.
func skipFlags(flags []cli.Flag, words []string) []string {
	_, rest, _, err := canonical(flags, words, false)
	if err != nil {
		return nil
	}
	return rest
}

// openFlag is the flag whose value is about to be typed.
func openFlag(flags []cli.Flag, rest []string) cli.Flag {
	if len(rest) == 0 {
		return nil
	}
	word := rest[len(rest)-1]
	if !strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
		return nil
	}
	// It waits for a value if it is an error alone and none with one.
	if _, _, _, err := canonical(flags, rest, true); err == nil {
		return nil
	}
	t := newFlagTable(flags)
	if f := t.byName[strings.TrimPrefix(word, "--")]; f != nil && strings.HasPrefix(word, "--") {
		return f
	}
	return t.byName[word[len(word)-1:]]
}

// flagValues completes the value of a flag, by what its placeholder says.
func (c *call) flagValues(f cli.Flag, last string) []string {
	switch f.Names()[0] {
	case "network", "pid", "ipc", "uts":
		return matching(last, []string{"none", "host", "private", "container:"})
	case "cgroupns":
		return matching(last, []string{"private", "host"})
	case "restart":
		return matching(last, []string{"no", "always", "unless-stopped", "on-failure"})
	case "pull", "policy":
		return matching(last, []string{"always", "missing", "newer", "never"})
	case "log-driver":
		return matching(last, []string{"journald", "k8s-file", "none"})
	case "attach":
		return matching(last, []string{"stdin", "stdout", "stderr"})
	case "runtime":
		return matching(last, c.runtimes())
	case "type":
		return matching(last, []string{"container", "image"})
	case "filter":
		return matching(last, []string{"id=", "name=", "label=", "status=", "exited=", "ancestor=", "before=", "since=", "until=", "volume=", "network=", "restart-policy="})
	}
	switch metavar(f) {
	case "FILE", "PATH", "DIR", "PATH:PATH[:OPTIONS]", "PATH[:PATH][:rwm]":
		return []string{fileWord}
	}
	return nil
}

func (c *call) runtimes() []string {
	cfg, err := config.Load()
	if err != nil {
		return nil
	}
	var list []string
	for n := range cfg.Runtimes {
		list = append(list, n)
	}
	return list
}

// argWords completes the nth argument of a verb.
func (c *call) argWords(v *verb, n int) []string {
	what := strings.Fields(v.args)
	if len(what) == 0 {
		return nil
	}
	i := min(n, len(what)-1)
	if i < n && !strings.HasSuffix(what[i], "...") {
		return nil
	}
	switch what := strings.Trim(what[i], "[]."); what {
	case "CONTAINER":
		return c.containerNames(v.names("container")[0])
	case "IMAGE":
		return c.imageNames()
	case "CONTAINER|IMAGE":
		return append(c.containerNames(""), c.imageNames()...)
	case "COMMAND":
		if v.names("")[0] == "help" {
			return c.verbNames("")
		}
	}
	return nil
}

// containerNames and imageNames answer with what can be read, silently: a
// completion has no place for an error. Containers are those that verb may have
// something to do for, as far as it can be told without systemd.
func (c *call) containerNames(verb string) []string {
	h, err := c.open()
	if err != nil {
		return nil
	}
	records, _ := h.Containers.List()
	var names []string
	for _, r := range records {
		started, _ := h.Containers.Started(r.ID)
		switch verb {
		case "attach", "exec", "kill", "stop":
			if started == nil {
				continue
			}
		case "start":
			if started != nil {
				continue
			}
		}
		names = append(names, r.Name)
	}
	return names
}

func (c *call) imageNames() []string {
	store, err := c.images()
	if err != nil {
		return nil
	}
	list, _ := store.List()
	var names []string
	for _, img := range list {
		for _, n := range img.Names {
			if ref, err := image.ParseReference(n); err == nil {
				names = append(names, ref.Familiar())
			}
		}
	}
	return names
}

// verbNames lists the verbs below a group by their first names.
func (c *call) verbNames(group string) []string {
	var list []string
	for _, v := range c.verbs {
		if names := v.names(group); len(names) > 0 && !v.hidden {
			list = append(list, names[0])
		}
	}
	if group == "" {
		for _, g := range groups {
			list = append(list, g.name)
		}
	}
	return list
}

// flagWords lists flags as they are typed.
func flagWords(flags []cli.Flag) []string {
	list := []string{"--help"}
	for _, f := range flags {
		if _, visible := usageOf(f); !visible {
			continue
		}
		for _, n := range f.Names() {
			list = append(list, dashed(n))
		}
	}
	return list
}

// matching sorts the words that begin with what is typed.
func matching(typed string, words []string) []string {
	var list []string
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			list = append(list, w)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

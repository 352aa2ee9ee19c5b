package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/config"
	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
)

// stdio is what a verb reads from and writes to.
type stdio struct{ in, out, err *os.File }

// app is one run of the program.
type app struct {
	std     stdio
	release func()        // ends what main does about signals
	out     *bufio.Writer // std.out; flushed before the exit and before a container takes over
	verbs   []*verb
}

func newApp(std stdio) *app {
	return &app{std: std, out: bufio.NewWriter(std.out), verbs: verbs()}
}

// verb is one command. Its names in the three places it can be called from are
// separated by blanks, the first being the one that help shows; empty: not there.
type verb struct {
	top, container, image string

	args     string // positional arguments as help shows them
	min, max int    // how many of them; max < 0: any number
	short    string // one line, no full stop
	long     string // more lines, for help VERB
	examples string
	group    string // heading in the list of verbs
	command  bool   // the first argument ends the flags: what follows is a command's
	whole    bool   // always needs what the everyday program lacks: see whole.go
	hidden   bool
	flags    func() []cli.Flag // a function: only the verb that is called pays for its flags
	later    string            // flags of Podman's and Docker's that are not there yet, separated by blanks
	run      func(*call) error
}

// groups are the verbs that only lead to others.
var groups = []struct{ name, short string }{
	{"container", "Manage containers"},
	{"image", "Manage images"},
}

// names returns what v is called below group ("" for the top).
func (v *verb) names(group string) []string {
	switch group {
	case "container":
		return strings.Fields(v.container)
	case "image":
		return strings.Fields(v.image)
	}
	return strings.Fields(v.top)
}

// call is one invocation of a verb.
type call struct {
	*app
	ctx    context.Context
	verb   *verb
	path   string // as the user called it: "run", "image ls"
	global *cli.Context
	flags  *cli.Context
	args   []string
	host   *engine.Host
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		str("log-level", "accepted for scripts written for podman", "LEVEL"),
		str("root", "keep containers and images below `DIR`", "DIR"),
		str("run", "keep what lasts no longer than a boot below `DIR`", "DIR"),
		str("runtime", "run containers by this OCI runtime: a `NAME` from berth.conf or a path", "NAME"),
		boolean("version v", "print the version"),
	}
}

// run is the way from the command line to a verb and back.
func (a *app) run(ctx context.Context, args []string) error {
	globals, rest, help, err := canonical(globalFlags(), args, false)
	if err != nil {
		return &usageError{err: err}
	}
	if help || len(rest) == 0 && len(globals) == 0 {
		return a.helpTop()
	}
	if slices.Contains(globals, "--version=true") {
		fmt.Fprintln(a.out, "berth version "+version())
		return nil
	}
	v, path, rest, err := a.find(rest)
	if err != nil {
		return &usageError{err: err}
	}
	if v == nil {
		return a.helpGroup(path)
	}
	var flags []cli.Flag
	if v.flags != nil {
		flags = v.flags()
	}
	flagArgs, rest, help, err := canonical(flags, rest, !v.command)
	if err != nil {
		return &usageError{path, v.notYet(err)}
	}
	if help {
		return a.helpVerb(v, path)
	}
	if err := countArgs(v, rest); err != nil {
		return &usageError{path, err}
	}
	c := &call{app: a, ctx: ctx, verb: v, path: path, args: rest}
	return c.run(globals, flags, flagArgs)
}

// run hands the canonical flags to the flag library and calls the verb.
func (c *call) run(globals []string, flags []cli.Flag, flagArgs []string) error {
	return withFlags(c.ctx, globals, flags, flagArgs, func(f *cli.Context) error {
		c.global, c.flags = f.Lineage()[1], f
		return c.act()
	})
}

// withFlags calls action with the values of canonical flags. Of the library's
// application only what reads flags is used. Its own place for an action comes
// after it has looked for actions of flags, each by every name of every other
// one, which takes as long as all the rest of reading them.
func withFlags(ctx context.Context, globals []string, flags []cli.Flag, flagArgs []string, action cli.ActionFunc) error {
	var err error
	before := func(f *cli.Context) error {
		err = action(f)
		return errActed
	}
	lib := &cli.App{
		Name:                      "berth",
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Writer:                    io.Discard, // errors are ours to print
		ErrWriter:                 io.Discard,
		ExitErrHandler:            func(*cli.Context, error) {},
		Flags:                     globalFlags(),
		Commands:                  []*cli.Command{{Name: "verb", HideHelp: true, Flags: flags, Before: before}},
	}
	args := append(append([]string{"berth"}, globals...), "verb")
	if libErr := lib.RunContext(ctx, append(args, flagArgs...)); !errors.Is(libErr, errActed) {
		return libErr
	}
	return err
}

// errActed keeps the library from going on after the action.
var errActed = errors.New("done")

func (c *call) act() error {
	err := image.ErrLean
	if image.Whole || !c.verb.whole {
		err = c.verb.run(c)
	}
	if c.host != nil {
		err = joinClose(err, c.host.Close())
	}
	if errors.Is(err, image.ErrLean) {
		err = becomeWhole()
	}
	var u *usageError
	if errors.As(err, &u) && u.verb == "" {
		u.verb = c.path
	}
	return err
}

// joinClose returns err, or what went wrong at closing when all else went well.
func joinClose(err, closing error) error {
	if err != nil {
		return err
	}
	return closing
}

// find returns the verb that args begin with and what follows it; no verb but a
// path where they name a group.
func (a *app) find(args []string) (*verb, string, []string, error) {
	if len(args) == 0 {
		return nil, "", nil, errors.New("a command is missing: see berth --help")
	}
	name, rest := args[0], args[1:]
	for _, g := range groups {
		if g.name != name {
			continue
		}
		if len(rest) == 0 || rest[0] == "--help" || rest[0] == "-h" {
			return nil, name, nil, nil
		}
		v, err := a.verb(name, rest[0])
		return v, name + " " + rest[0], rest[1:], err
	}
	v, err := a.verb("", name)
	return v, name, rest, err
}

// verb looks name up below group.
func (a *app) verb(group, name string) (*verb, error) {
	var names []string
	for _, v := range a.verbs {
		ns := v.names(group)
		if slices.Contains(ns, name) {
			return v, nil
		}
		if !v.hidden {
			names = append(names, ns...)
		}
	}
	under := "berth"
	if group == "" {
		for _, g := range groups {
			names = append(names, g.name)
		}
	} else {
		under += " " + group
	}
	if instead, ok := missing[name]; ok {
		return nil, fmt.Errorf("%s is not supported yet%s", name, prefixed(": ", instead))
	}
	n := synonyms[name]
	if !slices.Contains(names, n) {
		n = nearest(name, names)
	}
	if n != "" {
		return nil, fmt.Errorf("unknown command %q: did you mean %s %s?", name, under, n)
	}
	return nil, fmt.Errorf("unknown command %q: see %s --help", name, under)
}

// synonyms are what people call verbs elsewhere.
var synonyms = map[string]string{"delete": "rm", "remove": "rm", "destroy": "rm", "list": "ps", "ls": "ps", "show": "inspect"}

// missing are Podman's and Docker's verbs that are not here, and what serves
// meanwhile.
var missing = map[string]string{
	"build": "", "checkpoint": "", "commit": "", "compose": "", "diff": "", "export": "", "generate": "", "healthcheck": "", "history": "",
	"import": "", "kube": "", "logout": "", "manifest": "", "mount": "", "network": "", "pause": "", "play": "", "pod": "", "port": "",
	"push": "", "quadlet": "", "restore": "", "search": "", "secret": "", "umount": "", "unmount": "", "unpause": "", "volume": "",
	"cp":     "tar over berth exec -i copies in and out",
	"events": "journalctl -f -u 'berth-*' shows starts and ends",
	"login":  "give pull --creds=USER:PASSWORD, or --authfile=FILE",
	"stats":  "systemd-cgtop shows every container's unit",
	"system": "there are berth info, berth container prune and berth image prune",
	"top":    "systemctl status berth-NAME lists the processes",
	"update": "systemctl set-property berth-NAME changes limits",
}

func countArgs(v *verb, args []string) error {
	switch {
	case len(args) < v.min:
		return fmt.Errorf("%s is missing: want %s", strings.Trim(strings.Fields(v.args)[len(args)], "[]."), v.args)
	case v.max == 0 && len(args) > 0:
		return fmt.Errorf("unexpected argument %q", args[0])
	case v.max >= 0 && len(args) > v.max:
		return fmt.Errorf("unexpected argument %q: want %s", args[v.max], v.args)
	}
	return nil
}

// open returns the host to work on. It touches nothing.
func (c *call) open() (*engine.Host, error) {
	if c.host != nil {
		return c.host, nil
	}
	cfg, err := config.Load()
	if err != nil {
		return nil, err
	}
	for name, field := range map[string]*string{"root": &cfg.Root, "run": &cfg.Run} {
		if v := c.global.String(name); v != "" {
			if *field, err = filepath.Abs(v); err != nil {
				return nil, fmt.Errorf("--%s %s: %w", name, v, err)
			}
		}
	}
	c.host, err = engine.Open(cfg)
	return c.host, err
}

// println writes one line of result.
func (c *call) println(s string) { c.out.WriteString(s); c.out.WriteByte('\n') }

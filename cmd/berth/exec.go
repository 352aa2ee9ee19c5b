package main

import (
	"os"
	"slices"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/engine"
)

func execVerb() *verb {
	return &verb{
		top: "exec", container: "exec", group: "Containers",
		args: "CONTAINER COMMAND [ARG...]", min: 1, max: -1, command: true,
		short: "Run a command in a running container",
		long: `
berth ends with the command's exit code: 125 is berth's own failure, 126 a command
that cannot be executed, 127 one that is not there.`,
		examples: `
berth exec -it web sh
berth exec -u 33 -w /var/www web ls -l
tar c . | berth exec -i web tar x -C /srv`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				boolean("detach d", "leave the command in the background"),
				detachKeysFlag(),
				strs("env e", "set a variable; without =VALUE it comes from berth's environment", "KEY[=VALUE]"),
				strs("env-file", "read variables from a file", "FILE"),
				boolean("interactive i", "keep standard input open"),
				latestFlag(),
				boolean("privileged", "all capabilities"),
				boolean("tty t", "give the command a terminal"),
				str("user u", "run as a user of the container", "USER[:GROUP]"),
				str("workdir w", "working directory", "PATH"),
			}
		},
		later: "cidfile preserve-fd preserve-fds wait no-session",
		run:   runExec,
	}
}

func runExec(c *call) error {
	v := &values{Context: c.flags, env: osEnvironment()}
	e := engine.ExecSpec{
		User:       one(v, "user", nonEmpty),
		WorkDir:    one(v, "workdir", parseWorkDir),
		Env:        v.environment(),
		TTY:        v.Bool("tty"),
		Privileged: v.Bool("privileged"),
		Detach:     v.Bool("detach"),
	}
	if v.err != nil {
		return &usageError{err: v.err}
	}
	keys, err := c.detachKeys()
	if err != nil {
		return err
	}
	name, command, err := c.execTarget()
	if err != nil {
		return err
	}
	e.Args = command
	if e.TTY && v.Bool("interactive") && !e.Detach && !isTerminal(c.std.in) {
		warn(c.std.err, "standard input is no terminal: -t and -i may not do what you expect together")
	}
	if e.Detach {
		_, err := engine.Exec(c.ctx, c.host, name, e)
		return err
	}
	f := &foreground{std: c.std, keys: keys, proxy: true, signals: expectSignals(), release: c.release}
	return c.execForeground(f, name, e, v.Bool("interactive"))
}

// execTarget splits the arguments; --latest takes the container's place.
func (c *call) execTarget() (name string, command []string, err error) {
	if c.flags.Bool("latest") {
		command, c.args = c.args, nil
	} else {
		command, c.args = c.args[1:], c.args[:1]
	}
	if len(command) == 0 {
		return "", nil, usagef("COMMAND is missing: want %s", c.verb.args)
	}
	name, err = c.container()
	return name, command, err
}

// execForeground starts the command and stays with it.
func (c *call) execForeground(f *foreground, name string, e engine.ExecSpec, interactive bool) error {
	var theirs []*os.File // the command's ends of our pipes
	defer func() {
		for _, file := range theirs {
			file.Close()
		}
	}()
	if !e.TTY {
		var err error
		if theirs, err = f.execStreams(&e, interactive); err != nil {
			return err
		}
	}
	session, err := engine.Exec(c.ctx, c.host, name, e)
	if err != nil {
		return err
	}
	for _, file := range theirs {
		file.Close()
	}
	theirs = nil
	f.session = session
	if e.TTY {
		pty := session.Stdin
		f.stdout, f.leftovers = leftover{session.Stdout, pty}, []*os.File{pty}
		if interactive {
			f.stdin, f.closeStdin = pty, session.CloseStdin
		}
	}
	return f.run(c.ctx)
}

// execStreams gives the command our own files where that is safe, so that no
// byte is copied, and pipes where it is not: a terminal lets who holds it type
// on it (ioctl_tty(2), TIOCSTI), and a socket cannot be opened by /dev/stdout.
func (f *foreground) execStreams(e *engine.ExecSpec, interactive bool) (theirs []*os.File, err error) {
	files := []struct {
		ours  *os.File
		field **os.File
		want  bool
	}{
		{f.std.in, &e.Stdin, interactive},
		{f.std.out, &e.Stdout, true},
		{f.std.err, &e.Stderr, true},
	}
	for i, x := range files {
		if !x.want {
			continue
		}
		if plain(x.ours) {
			*x.field = x.ours
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		switch i {
		case 0:
			*x.field, f.stdin, f.closeStdin = r, w, w.Close
			theirs = append(theirs, r)
			continue
		case 1:
			f.stdout = leftover{r, r}
		case 2:
			f.stderr = leftover{r, r}
		}
		*x.field = w
		theirs = append(theirs, w)
		f.leftovers = append(f.leftovers, r)
	}
	return theirs, nil
}

// plain files may be handed to a container: pipes, regular files, /dev/null.
func plain(f *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFREG:
		return true
	case unix.S_IFCHR:
		return slices.Contains([]uint64{unix.Mkdev(1, 3), unix.Mkdev(1, 5), unix.Mkdev(1, 7)}, st.Rdev) // null, zero, full
	}
	return false
}

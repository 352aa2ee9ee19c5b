package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

func runVerb() *verb {
	return &verb{
		top: "run", container: "run", group: "Containers",
		args: "IMAGE [COMMAND [ARG...]]", min: 1, max: -1, command: true,
		short: "Make a container from an image and run a command in it",
		long: `
The container becomes the systemd unit berth-NAME.service. Without -d berth stays
in the foreground and ends with the command's exit code: 125 is berth's own
failure, 126 a command that cannot be executed, 127 one that is not there, and
128+n the end by signal n.

An image that is not here is pulled first. With --rootfs the first argument is a
directory instead of an image.`,
		examples: `
berth run --rm -it debian:13 bash
berth run -d --name web --network host -v ./site:/usr/share/nginx/html:ro nginx
berth run --rm -m 512m --cpus 1.5 --read-only --rootfs /srv/tree /bin/job`,
		flags: func() []cli.Flag {
			return append(specFlags(),
				boolean("detach d", "leave the container in the background and print its ID"),
				booleanOn("sig-proxy", "hand signals to berth on to the command, unless it has a terminal"))
		},
		later: specLater,
		run:   runRun,
	}
}

func createVerb() *verb {
	return &verb{
		top: "create", container: "create", group: "Containers",
		args: "IMAGE [COMMAND [ARG...]]", min: 1, max: -1, command: true,
		short: "Make a container without starting it",
		long: `
Prints the container's ID. berth start and systemctl start container@NAME start it.`,
		examples: `berth create --name web nginx`,
		flags: func() []cli.Flag {
			return append(specFlags(), accepted(booleanOn("sig-proxy", "")), accepted(boolean("detach d", "")))
		},
		later: specLater,
		run:   runCreate,
	}
}

// spec is what run and create have in common: the Spec and how to make it real.
func (c *call) spec() (container.Spec, *engine.CreateOptions, error) {
	spec, err := parseSpec(c.flags, c.args, osEnvironment())
	if err != nil {
		return spec, nil, err
	}
	if spec.Runtime == "" {
		spec.Runtime = c.global.String("runtime")
	}
	if spec.TTY && spec.OpenStdin && !c.flags.Bool("detach") && !isTerminal(c.std.in) {
		warn(c.std.err, "standard input is no terminal: -t and -i may not do what you expect together")
	}
	o := &engine.CreateOptions{
		Replace: c.flags.Bool("replace"),
		Warn:    func(text string) { warn(c.std.err, "%s", text) },
	}
	return spec, o, nil
}

func runCreate(c *call) (err error) {
	spec, o, err := c.spec()
	if err != nil {
		return err
	}
	h, err := c.open()
	if err != nil {
		return err
	}
	id, err := newCIDFile(c.flags.String("cidfile"))
	if err != nil {
		return err
	}
	defer func() { err = id.close(err) }()
	done := c.progress(&o.Pull, c.flags.Bool("quiet"))
	r, err := engine.Create(c.ctx, h, spec, o)
	done()
	if err != nil {
		return err
	}
	c.println(r.ID)
	return id.write(r.ID)
}

func runRun(c *call) error {
	spec, o, err := c.spec()
	if err != nil {
		return err
	}
	attach, err := c.attachment(&spec)
	if err != nil {
		return err
	}
	keys, err := c.detachKeys()
	if err != nil {
		return err
	}
	h, err := c.open()
	if err != nil {
		return err
	}
	id, err := newCIDFile(c.flags.String("cidfile"))
	if err != nil {
		return err
	}
	var signals *signalQueue
	if attach != nil {
		signals = expectSignals()
	}
	done := c.progress(&o.Pull, c.flags.Bool("quiet"))
	r, session, err := engine.Run(c.ctx, h, spec, o, attach)
	done()
	if err == nil {
		err = id.write(r.ID)
	}
	if err = id.close(err); err != nil {
		return err
	}
	if session == nil {
		c.println(r.ID)
		return nil
	}
	return c.foreground(session, signals, keys)
}

// attachment says what run attaches to: nothing with -d, what -a names, or all
// output, and the input with -i.
func (c *call) attachment(spec *container.Spec) (*engine.AttachOptions, error) {
	streams := c.flags.StringSlice("attach")
	if c.flags.Bool("detach") {
		if len(streams) > 0 {
			return nil, usagef("--detach and --attach exclude each other")
		}
		return nil, nil
	}
	a := &engine.AttachOptions{Stdin: spec.OpenStdin, Stdout: true, Stderr: true}
	if len(streams) > 0 {
		*a = engine.AttachOptions{}
	}
	for _, s := range streams {
		switch strings.ToLower(s) {
		case "stdin":
			a.Stdin = true
			spec.OpenStdin = true
		case "stdout":
			a.Stdout = true
		case "stderr":
			a.Stderr = true
		default:
			return nil, &usageError{err: badValue("attach", s, "stdin, stdout or stderr")}
		}
	}
	a.StdinOnce = a.Stdin
	return a, nil
}

func (c *call) detachKeys() ([]byte, error) {
	s := defaultDetachKeys
	if c.flags.IsSet("detach-keys") {
		s = c.flags.String("detach-keys")
	}
	keys, err := parseDetachKeys(s)
	if err != nil {
		return nil, usagef("--detach-keys %q: want %w", s, err)
	}
	return keys, nil
}

// foreground carries a container's session to its end.
func (c *call) foreground(s *engine.Session, signals *signalQueue, keys []byte) error {
	if err := c.out.Flush(); err != nil {
		s.Close()
		return outputError(err)
	}
	f := &foreground{std: c.std, session: s, keys: keys, proxy: c.flags.Bool("sig-proxy"), signals: signals, release: c.release}
	f.streams()
	return f.run(c.ctx)
}

// cidFile is where --cidfile wants the container's ID. It must not be there
// before, and is gone again where there is no container.
type cidFile struct {
	f       *os.File
	written bool
}

func newCIDFile(path string) (*cidFile, error) {
	if path == "" {
		return &cidFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("--cidfile %s: the file exists: remove it, or choose another one", path)
	}
	if err != nil {
		return nil, fmt.Errorf("--cidfile: %w", err)
	}
	return &cidFile{f: f}, nil
}

func (c *cidFile) write(id string) error {
	if c.f == nil {
		return nil
	}
	c.written = true
	if _, err := c.f.WriteString(id); err != nil {
		return fmt.Errorf("--cidfile: %w", err)
	}
	return nil
}

// close returns err, or its own failure.
func (c *cidFile) close(err error) error {
	if c.f == nil {
		return err
	}
	closeErr := c.f.Close()
	if !c.written {
		os.Remove(c.f.Name())
	}
	return joinClose(err, closeErr)
}

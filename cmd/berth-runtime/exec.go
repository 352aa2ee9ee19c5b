package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// execFlags are the flags of exec.
type execFlags struct {
	opt         runtime.ExecOptions
	process     string
	tty         bool
	user        string
	groups      []string
	cwd         string
	env, caps   []string
	noNewPrivs  bool
	ignorePause bool
}

func execProcess(ctx context.Context, g *global, args []string) error {
	var x execFlags
	f := newFlags()
	f.str(&x.process, "process", "p")
	f.flag(&x.opt.Detach, "detach", "d")
	f.str(&x.opt.PidFile, "pid-file")
	f.str(&x.opt.ConsoleSocket, "console-socket")
	f.flag(&x.tty, "tty", "t")
	f.str(&x.user, "user", "u")
	f.list(&x.groups, "additional-gids", "g")
	f.str(&x.cwd, "cwd")
	f.list(&x.env, "env", "e")
	f.list(&x.caps, "cap", "c")
	f.flag(&x.noNewPrivs, "no-new-privs")
	f.flag(&x.ignorePause, "ignore-paused")
	f.fn(number(&x.opt.PreserveFDs), "preserve-fds")
	args, err := f.parse(args)
	if err != nil {
		return err
	}
	if len(args) == 0 || len(args) == 1 && x.process == "" {
		return errors.New("want a container's ID and a command")
	}
	c, err := runtime.Open(g.root, args[0])
	if err != nil {
		return err
	}
	switch status := c.Status(); {
	case status == "paused" && !x.ignorePause:
		return &statusError{255, errors.New("cannot exec in a paused container (use --ignore-paused to override)")}
	case status == specs.StateStopped:
		return &statusError{255, errors.New("cannot exec in a stopped container")}
	}
	p, err := x.describe(c, args[1:])
	if err != nil {
		return &statusError{255, err}
	}
	child, err := c.Exec(ctx, p, &x.opt)
	if err != nil {
		return &statusError{execStatus(err), err}
	}
	if x.opt.Detach {
		return nil
	}
	status, err := attend(child)
	if err != nil {
		return &statusError{255, err}
	}
	return exitStatus(status)
}

// execStatus is what exec exits with when the command cannot be run, as a shell would.
func execStatus(err error) int {
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		return 127
	case errors.Is(err, runtime.ErrNotExecutable):
		return 126
	}
	return 255
}

// describe makes the process from --process, or from the container's own and the flags.
func (x *execFlags) describe(c *runtime.Container, args []string) (*specs.Process, error) {
	if x.process != "" {
		b, err := os.ReadFile(x.process)
		if err != nil {
			return nil, err
		}
		p := new(specs.Process)
		if err := json.Unmarshal(b, p); err != nil {
			return nil, fmt.Errorf("parse %s: %w", x.process, err)
		}
		return p, nil
	}
	base, err := c.Process()
	if err != nil {
		return nil, err
	}
	p := runtime.ProcessLike(base, args)
	p.Terminal = x.tty
	p.Env = append(p.Env, x.env...)
	if x.cwd != "" {
		p.Cwd = x.cwd
	}
	if x.noNewPrivs {
		p.NoNewPrivileges = true
	}
	if x.user != "" {
		if p.User, err = parseUser(x.user); err != nil {
			return nil, err
		}
	}
	for _, g := range x.groups {
		n, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("additional gid %q: not a number", g)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(n))
	}
	addCaps(p, x.caps)
	return p, nil
}

func parseUser(s string) (specs.User, error) {
	uid, gid, has := strings.Cut(s, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q: not a number", s)
	}
	var g uint64
	if has {
		if g, err = strconv.ParseUint(gid, 10, 32); err != nil {
			return specs.User{}, fmt.Errorf("user %q: not a number", s)
		}
	}
	return specs.User{UID: uint32(u), GID: uint32(g)}, nil
}

// addCaps gives the process capabilities more, in the sets that let it use them.
func addCaps(p *specs.Process, caps []string) {
	if len(caps) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = new(specs.LinuxCapabilities)
	}
	for _, set := range []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted} {
		*set = append((*set)[:len(*set):len(*set)], caps...)
	}
}

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
	label       string
	apparmor    string
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
	f.str(&x.opt.PidfdSocket, "pidfd-socket")
	f.flag(&x.tty, "tty", "t")
	f.str(&x.user, "user", "u")
	f.list(&x.groups, "additional-gids", "g")
	f.str(&x.cwd, "cwd")
	f.list(&x.env, "env", "e")
	f.list(&x.caps, "cap", "c")
	f.str(&x.label, "process-label")
	f.str(&x.apparmor, "apparmor")
	f.flag(&x.noNewPrivs, "no-new-privs")
	f.fn(x.subCgroup, "cgroup")
	f.flag(&x.ignorePause, "ignore-paused")
	f.fn(number(&x.opt.PreserveFDs), "preserve-fds")
	args, err := f.parse(args)
	if err != nil {
		return err
	}
	if len(args) == 0 || len(args) == 1 && x.process == "" {
		return usageError{errors.New("requires a container's ID and a command")}
	}
	c, err := runtime.Open(g.root, args[0])
	if err != nil {
		return &statusError{255, err}
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
	if x.label != "" {
		p.SelinuxLabel = x.label
	}
	if x.apparmor != "" {
		p.ApparmorProfile = x.apparmor
	}
	if x.noNewPrivs {
		p.NoNewPrivileges = true
	}
	if x.user != "" {
		if err := setUser(&p.User, x.user); err != nil {
			return nil, err
		}
	}
	for _, g := range x.groups {
		n, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("additional gid %q: not a number", g)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids[:len(p.User.AdditionalGids):len(p.User.AdditionalGids)], uint32(n))
	}
	addCaps(p, x.caps)
	return p, nil
}

// setUser changes who the process is; its other groups stay.
func setUser(to *specs.User, s string) error {
	uid, gid, has := strings.Cut(s, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return fmt.Errorf("user %q: not a number", s)
	}
	to.UID = uint32(u)
	if has {
		g, err := strconv.ParseUint(gid, 10, 32)
		if err != nil {
			return fmt.Errorf("user %q: not a number", s)
		}
		to.GID = uint32(g)
	}
	return nil
}

// subCgroup reads --cgroup. Before a colon there would be controllers, which
// are hierarchies of their own on cgroup v1 only.
func (x *execFlags) subCgroup(v string) error {
	if strings.Contains(v, ":") {
		return fmt.Errorf("%q: cgroup v2 has no hierarchy of a controller", v)
	}
	if x.opt.Cgroup != "" {
		return fmt.Errorf("%q: given twice", v)
	}
	x.opt.Cgroup = v
	return nil
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

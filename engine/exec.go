package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine/bundle"
	"github.com/berthrun/berth/shim/wire"
)

// ExecSpec is a process to be started in a running container. What it leaves
// empty is as the container's first process has it.
type ExecSpec struct {
	Args       []string
	Env        []string
	User       string
	WorkDir    string
	TTY        bool
	Privileged bool
	Detach     bool // do not follow the process
	// Files become the process's standard streams as they are; nil is
	// /dev/null. Without effect with TTY.
	Stdin, Stdout, Stderr *os.File
}

// Exec starts a process in a running container. With TTY the session has the
// terminal as Stdin and Stdout.
func Exec(ctx context.Context, h *Host, name string, e ExecSpec) (*Session, error) {
	r, err := h.Containers.Load(name)
	if err != nil {
		return nil, err
	}
	process, err := execProcess(h, r, &e)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", r.Name, err)
	}
	c, _, err := dial(ctx, h, r)
	if err != nil {
		return nil, err
	}
	w, err := c.Exec(ctx, wire.ExecOptions{Process: process, Terminal: e.TTY, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr, Detach: e.Detach})
	if err != nil {
		c.Close()
		err = execError(r, err)
		var se *StartError
		if errors.As(err, &se) {
			// Other runtimes than ours write to it whatever --log says.
			se.Told = e.Stderr != nil && !e.TTY && filepath.Base(r.Runtime.Path) != "berth-runtime"
		}
		return nil, err
	}
	s := newSession(h, r, &AttachOptions{})
	s.isExec, s.TTY, s.c = true, e.TTY, c
	if e.Detach {
		close(s.done)
		return s, c.Close()
	}
	if fd, err := unix.PidfdOpen(w.Pid, 0); err == nil {
		s.pidfd = fd // a process that has ended already needs no signals
	}
	if e.TTY {
		s.Stdin, s.Stdout = w.Input, terminal{w.Input}
	}
	go s.follow(w)
	return s, nil
}

// terminal reads a pty's master: EIO is how it says that no process has the
// other end any more (pty(7)).
type terminal struct{ f *os.File }

func (t terminal) Read(p []byte) (int, error) {
	n, err := t.f.Read(p)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

func execError(r *container.Record, err error) error {
	var we *wire.Error
	if errors.As(err, &we) && we.Name == wire.ErrorExecFailed {
		code := we.Code
		if code == 0 {
			code = container.ExitBerth
		}
		return &StartError{Code: code, Name: r.Name, Err: fmt.Errorf("exec in container %s: %s", r.Name, we.Message)}
	}
	if errors.Is(err, &wire.Error{Name: wire.ErrorNotRunning}) || errors.Is(err, wire.ErrGone) {
		return fmt.Errorf("exec in container %s: %w", r.Name, ErrNotRunning)
	}
	return fmt.Errorf("exec in container %s: %w", r.Name, err)
}

// execProcess is the OCI process object: the container's own with the
// differences that were asked for.
func execProcess(h *Host, r *container.Record, e *ExecSpec) (json.RawMessage, error) {
	if len(e.Args) == 0 {
		return nil, errors.New("no command given")
	}
	p, err := configProcess(h, r)
	if err != nil {
		return nil, err
	}
	p.Args, p.Terminal = e.Args, e.TTY
	p.Env = bundle.MergeEnv(p.Env, e.Env)
	if e.TTY && !hasEnv(p.Env, "TERM") {
		p.Env = append(p.Env, "TERM=xterm")
	}
	if e.WorkDir != "" {
		if !filepath.IsAbs(e.WorkDir) {
			return nil, fmt.Errorf("workdir %q: must be an absolute path", e.WorkDir)
		}
		p.Cwd = e.WorkDir
	}
	if e.User != "" || e.Privileged {
		if err := execUser(h, r, e, p); err != nil {
			return nil, err
		}
	}
	return json.Marshal(p)
}

// configProcess is the process object of the container's OCI configuration: of
// the run's, which has its AppArmor profile, if there is one.
func configProcess(h *Host, r *container.Record) (*specs.Process, error) {
	data, err := os.ReadFile(filepath.Join(h.Containers.RunDir(r.ID), container.ConfigFile))
	if errors.Is(err, os.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(h.Containers.Dir(r.ID), container.ConfigFile))
	}
	if err != nil {
		return nil, err
	}
	var config struct {
		Process specs.Process `json:"process"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("read %s: %w", container.ConfigFile, err)
	}
	return &config.Process, nil
}

func hasEnv(env []string, name string) bool {
	for _, kv := range env {
		if strings.HasPrefix(kv, name+"=") {
			return true
		}
	}
	return false
}

// execUser changes the user and what follows from it.
func execUser(h *Host, r *container.Record, e *ExecSpec, p *specs.Process) error {
	spec := r.Spec
	if e.Privileged { // whatever the container was denied
		spec.Privileged, spec.CapDrop = true, nil
	}
	want := e.User
	if want == "" {
		want = fmt.Sprintf("%d:%d", p.User.UID, p.User.GID)
	}
	layers := tree(r)
	if len(r.Rootfs.Lower) > 0 {
		layers = append(bundle.Tree{filepath.Join(h.Containers.Dir(r.ID), container.UpperDir)}, layers...)
	}
	user, home, caps, err := bundle.As(layers, &spec, want)
	if err != nil {
		return err
	}
	user.Umask = p.User.Umask
	if e.User != "" {
		p.User = user
		p.Env = bundle.MergeEnv(p.Env, []string{"HOME=" + home})
	}
	p.Capabilities = caps
	if e.Privileged {
		p.NoNewPrivileges = false
	}
	return nil
}

func signalExec(pidfd int, sig syscall.Signal) error {
	if pidfd < 0 {
		return nil
	}
	err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if err == unix.ESRCH {
		return nil
	}
	return err
}

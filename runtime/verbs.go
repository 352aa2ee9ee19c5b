package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets a created container's init execute its program, and returns when
// it has or when it could not. A hook that fails ends the container.
func (c *Container) Start(ctx context.Context) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	switch status := c.Status(); status {
	case specs.StateCreated:
	case specs.StateStopped:
		return errors.New("cannot start a container that has stopped")
	default:
		return fmt.Errorf("cannot start an already running container: %w", ErrState)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	err = atSocket(c.dir, func(addr *unix.SockaddrUnix) error { return unix.Connect(fd, addr) })
	if err != nil {
		return fmt.Errorf("connect to init of %s: %w", c.rec.ID, err)
	}
	hooks, err := c.hooks()
	if err != nil {
		return err
	}
	if len(hooks.StartContainer) > 0 {
		if err := c.startHooks(ctx, hooks.StartContainer); err != nil {
			return c.stop(ctx, err)
		}
	}
	agent, seccomp, err := c.agent()
	if err != nil {
		return err
	}
	if agent >= 0 {
		defer unix.Close(agent)
	}
	if err := unix.Send(fd, []byte{1}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("start %s: %w", c.rec.ID, err)
	}
	if agent >= 0 {
		err = c.deliver(agent, fd, seccomp)
	}
	if err == nil {
		// The end of the connection is the execve: the init's end closes on it.
		_, _, err = receive(fd)
	}
	if err != nil {
		// The init is ending; state says so as soon as we have.
		return c.stop(ctx, err)
	}
	unix.Unlink(filepath.Join(c.dir, startFile))
	if err := runHooks(ctx, "poststart", hooks.Poststart, c.stateAs(specs.StateRunning)); err != nil {
		return c.stop(ctx, err)
	}
	return nil
}

// stop ends a container that could not be started, because of err. What is left
// is for Delete, with its poststop hooks.
func (c *Container) stop(ctx context.Context, err error) error {
	if e := c.end(ctx); e != nil {
		return errors.Join(err, e)
	}
	unix.Unlink(filepath.Join(c.dir, startFile))
	return err
}

// agent connects to the agent of the init's seccomp filter, if it has one.
func (c *Container) agent() (fd int, profile *specs.LinuxSeccomp, err error) {
	if c.rec.Listener == nil {
		return -1, nil, nil
	}
	s, err := c.spec()
	if err != nil {
		return -1, nil, err
	}
	fd, err = dialAgent(s.Linux.Seccomp)
	return fd, s.Linux.Seccomp, err
}

// deliver gets the init's listener to the agent.
func (c *Container) deliver(agent, sock int, profile *specs.LinuxSeccomp) error {
	if err := told(sock); err != nil {
		return err
	}
	pidfd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	return c.rec.Listener.deliver(agent, sock, c.rec.Pid, pidfd, profile, c.stateAs(specs.StateCreated))
}

// hooks reads the container's hooks.
func (c *Container) hooks() (specs.Hooks, error) {
	if !c.rec.Hooks {
		return specs.Hooks{}, nil
	}
	s, err := c.spec()
	if err != nil || s.Hooks == nil {
		return specs.Hooks{}, err
	}
	return *s.Hooks, nil
}

// startHooks runs hooks in the container's namespaces, from a thread of their own.
func (c *Container) startHooks(ctx context.Context, hooks []specs.Hook) error {
	pidfd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	root, err := unix.Open("/proc/"+strconv.Itoa(c.rec.Pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open root of init: %w", err)
	}
	defer unix.Close(root)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: it stays in there
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare root directory: %w", err)
			}
			// A process of several threads can join neither a user nor a time namespace.
			if ns := c.rec.Namespaces &^ (unix.CLONE_NEWUSER | unix.CLONE_NEWTIME); ns != 0 {
				if err := unix.Setns(pidfd, int(ns)); err != nil {
					return fmt.Errorf("join namespaces: %w", err)
				}
			}
			if c.rec.Chroot {
				if err := changeRoot(root); err != nil {
					return err
				}
			}
			return runHooks(ctx, "startContainer", hooks, c.stateAs(specs.StateCreated))
		}()
	}()
	return <-done
}

// Kill sends a signal to the container's init.
func (c *Container) Kill(sig unix.Signal) error {
	fd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		if err == unix.ESRCH {
			return ErrStopped
		}
		return fmt.Errorf("signal %s: %w", c.rec.ID, err)
	}
	return nil
}

// KillAll sends a signal to every process in the container's cgroup.
func (c *Container) KillAll(sig unix.Signal) error {
	if c.rec.Cgroup == "" {
		return c.Kill(sig)
	}
	err := cgroup{c.rec.Cgroup}.signal(sig)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", c.rec.ID, err)
	}
	return nil
}

// Delete removes what is left of a container: its processes, its cgroup, its
// directory. One that still runs is refused, unless by force. The container is
// gone where the error is a WarningError.
func (c *Container) Delete(ctx context.Context, force bool) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	switch status := c.Status(); {
	case status == specs.StateStopped:
	case force || status == specs.StateCreated:
		if err := c.end(ctx); err != nil {
			return err
		}
	default:
		return fmt.Errorf("cannot delete container %s that is not stopped: %s: %w", c.rec.ID, status, ErrState)
	}
	return c.destroy(ctx)
}

// end kills the init and waits until it is gone.
func (c *Container) end(ctx context.Context) error {
	fd, err := c.pidfd()
	if errors.Is(err, ErrStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	cg := cgroup{c.rec.Cgroup}
	if cg.frozen() {
		// SIGKILL reaches the frozen too, but their end waits for some kernels.
		cg.write("cgroup.freeze", "0") //nolint:errcheck // as above
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill %s: %w", c.rec.ID, err)
	}
	for {
		timeout := -1
		if t, ok := ctx.Deadline(); ok {
			timeout = max(int(time.Until(t)/time.Millisecond), 0)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the end of %s: %w", c.rec.ID, err)
		}
		if n == 0 {
			return fmt.Errorf("wait for the end of %s: %w", c.rec.ID, context.DeadlineExceeded)
		}
		return nil
	}
}

// destroy removes a stopped container. Poststop hooks run after everything
// else is gone, each whatever became of those before it.
func (c *Container) destroy(ctx context.Context) error {
	hooks, hookErr := c.hooks()
	if err := (cgroup{c.rec.Cgroup}).remove(ctx); err != nil {
		return err
	}
	if err := c.rec.Resctrl.remove(); err != nil {
		return err
	}
	if c.rec.Mounted {
		s, err := c.spec()
		if err == nil {
			err = c.unmountRoot(s)
		}
		if err != nil {
			return err
		}
	}
	if err := removeDir(c.dir); err != nil {
		return fmt.Errorf("remove %s: %w", c.dir, err)
	}
	if hookErr != nil {
		return &WarningError{hookErr}
	}
	return runPostStop(ctx, hooks.Poststop, c.stateAs(specs.StateStopped))
}

// Forget removes a container's directory that has no record, since create was
// killed, or one that cannot be read.
func Forget(root, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := removeDir(filepath.Join(root, id)); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}

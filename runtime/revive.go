package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Revival is a container whose processes are not made by this package but come
// from elsewhere: runtime/checkpoint has CRIU make them. It is in the store, with
// a cgroup, and becomes a Container when it is told its init.
type Revival struct {
	l *launch
}

// Revive makes the container's directory and cgroup from the bundle, as Create does.
func Revive(ctx context.Context, root, id, bundle string, opt *CreateOptions) (*Revival, error) {
	l, err := newLaunch(ctx, root, id, bundle, opt)
	if err != nil {
		return nil, err
	}
	r := &Revival{l}
	if err := checkConsole(l.spec.Process, l.opt.Detach, l.opt.ConsoleSocket); err != nil {
		r.Abandon()
		return nil, err
	}
	if l.opt.Place != nil {
		return r, nil
	}
	if l.madeCgroup, err = l.cg.create(); err != nil {
		r.Abandon()
		return nil, err
	}
	if l.cg.dir != "" {
		if err := errors.Join(l.limit(), l.awaitFence()); err != nil {
			r.Abandon()
			return nil, err
		}
	}
	return r, nil
}

// Place puts the process that is going to make the container's into the
// container's cgroup, if CreateOptions.Place is to make that.
func (r *Revival) Place(pid int) error {
	if r.l.opt.Place == nil {
		return nil
	}
	if err := r.l.put(pid); err != nil {
		return err
	}
	return r.l.awaitFence()
}

// Abandon undoes a revival that failed.
func (r *Revival) Abandon() { r.l.abandon() }

// Spec is the container's configuration.
func (r *Revival) Spec() *specs.Spec { return r.l.spec }

// Cgroup is the directory of the container's cgroup, "" as long as there is none.
func (r *Revival) Cgroup() string { return r.l.cg.dir }

// MountRoot puts the container's root file system together at its path, with the
// places that other file systems are going to be mounted on, and returns the path.
// Preconditions: the thread is locked, and in a mount namespace of its own.
func (r *Revival) MountRoot() (string, error) {
	l := r.l
	tree, err := l.openRoot()
	if err != nil {
		return "", err
	}
	l.root.fd = tree
	at := l.c.rec.Rootfs
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return "", fmt.Errorf("mount root %s: %w", at, err)
	}
	unix.Umask(0)
	for i := range l.mounts {
		m := &l.mounts[i]
		if m.opt.bind && !m.opt.remount {
			if err := m.openSource(); err != nil { // it tells a file from a directory
				return "", fmt.Errorf("mount %s: %w", m.spec.Destination, err)
			}
		}
		if m.isRoot() {
			if err := l.mount(m); err != nil {
				return "", err
			}
			continue
		}
		// Where it is on another mount it cannot be made, and need not be.
		if fd, err := m.target(l.root); err == nil {
			unix.Close(fd)
		}
	}
	closeSources(l.mounts)
	return at, nil
}

// Hooks runs the hooks that belong to the runtime's namespaces, with the init's
// pid in their state.
func (r *Revival) Hooks(pid int) error {
	h := r.l.spec.Hooks
	if h == nil {
		return nil
	}
	c := *r.l.c
	c.rec.Pid = pid
	state := c.stateAs(specs.StateCreating)
	//lint:ignore SA1019 engines still use prestart
	if err := runHooks(r.l.ctx, "prestart", h.Prestart, state); err != nil {
		return err
	}
	return runHooks(r.l.ctx, "createRuntime", h.CreateRuntime, state)
}

// Console sends a terminal's master to the console socket; without one it is the
// Child's.
func (r *Revival) Console(master *os.File) error {
	if r.l.opt.ConsoleSocket == "" {
		fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		r.l.term.master = fd
		return err
	}
	return sendTerminal(r.l.opt.ConsoleSocket, terminal{int(master.Fd()), -1, "/dev/console"})
}

// Adopt says which process is the container's init: it writes the record and the
// pid file. The init must be a child of this process, for Child.Wait.
func (r *Revival) Adopt(pid int) (*Container, *Child, error) {
	if pid <= 0 {
		return nil, nil, errors.New("adopt container: no init")
	}
	r.l.pid = pid
	if err := r.l.save(); err != nil {
		return nil, nil, err
	}
	child := &Child{Pid: pid, Master: r.l.term.master}
	r.l.term.master = -1
	return r.l.c, child, nil
}

// Close releases what the revival itself held. The container stays.
func (r *Revival) Close() { r.l.close() }

// Spec reads the configuration that the container was created with.
func (c *Container) Spec() (*specs.Spec, error) { return c.spec() }

// Hold keeps other verbs away from the container until it is released.
func (c *Container) Hold() (release func(), err error) { return c.lock() }

// BindMounts are the places in the container where what is mounted is the host's,
// each with its path there.
func BindMounts(s *specs.Spec) map[string]string {
	list := make(map[string]string)
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if o := parseMountOptions(m); o.bind {
			list[path.Clean(m.Destination)] = m.Source
		}
	}
	return list
}

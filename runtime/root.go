package runtime

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// enter takes the thread into the init's mount namespace, and attaches the root there.
func (l *launch) enter() error {
	own := l.ns.fresh&unix.CLONE_NEWNS != 0
	rootFD := -1
	if own {
		// The init's own root: a runtime that lives in a chroot keeps it.
		var err error
		rootFD, err = unix.Open("/proc/"+strconv.Itoa(l.pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open root of init: %w", err)
		}
		defer unix.Close(rootFD)
	}
	// setns on a mount namespace refuses a thread that shares its root with others.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare root directory: %w", err)
	}
	unix.Umask(0)
	if own {
		if err := unix.Setns(l.pidfd, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join mount namespace of init: %w", err)
		}
		if err := unix.Fchdir(rootFD); err != nil {
			return fmt.Errorf("change directory: %w", err)
		}
		if err := unix.Chroot("."); err != nil {
			return fmt.Errorf("change root: %w", err)
		}
		// Nothing that is unmounted here may be unmounted on the host.
		if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
	}
	path := l.c.rec.Rootfs
	if err := unix.MoveMount(l.root.fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return fmt.Errorf("mount root %s: %w", path, err)
	}
	l.attached = true
	if !own {
		// On a shared mount, what is attached becomes shared.
		if err := setattr(l.root.fd, true, attrs{}, unix.MS_PRIVATE); err != nil {
			return fmt.Errorf("make root %s private: %w", path, err)
		}
	}
	return nil
}

// enterOthers takes the thread into the init's new namespaces but that of mounts:
// sysfs and mqueue are of the namespaces of who makes them.
func (l *launch) enterOthers() error {
	flags := l.ns.fresh & (unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if flags == 0 {
		return nil
	}
	if err := unix.Setns(l.pidfd, int(flags)); err != nil {
		return fmt.Errorf("join namespaces of init: %w", err)
	}
	return nil
}

// enterMounts takes the thread into a mount namespace that exists. The root's
// path and the sources of binds are that namespace's then.
func (l *launch) enterMounts() error {
	for _, j := range l.later {
		if j.flag != unix.CLONE_NEWNS {
			continue
		}
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare root directory: %w", err)
		}
		if err := unix.Setns(j.fd, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("join namespace %s: %w", j.path, err)
		}
	}
	return nil
}

// unmountRoot takes away what a container without a mount namespace of its own
// has left in another one: its root, with everything below.
func (c *Container) unmountRoot(s *specs.Spec) error {
	path := ""
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == specs.MountNamespace {
			path = ns.Path
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: it may be elsewhere afterwards
		done <- func() error {
			if path != "" {
				if err := unix.Unshare(unix.CLONE_FS); err != nil {
					return fmt.Errorf("unshare root directory: %w", err)
				}
				err := joined{flag: unix.CLONE_NEWNS, path: path}.enter()
				if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
					return nil // it went away with its mounts
				}
				if err != nil {
					return err
				}
			}
			err := unix.Unmount(c.rec.Rootfs, unix.MNT_DETACH)
			if err != nil && err != unix.EINVAL && err != unix.ENOENT {
				return fmt.Errorf("unmount %s: %w", c.rec.Rootfs, err)
			}
			return nil
		}()
	}()
	return <-done
}

// rootPropagation reads a value of linux.rootfsPropagation. What is private
// needs no flag.
func rootPropagation(value string) (flag uint64, recursive, ok bool) {
	base, recursive := strings.CutPrefix(value, "r")
	if base == "private" {
		return 0, recursive, true
	}
	flag, ok = propagations[base]
	return flag, recursive, ok
}

// leave makes the container's root the thread's, and, unless it has to do that
// by itself (program.changeRoot), the init's.
func (l *launch) leave() error {
	var err error
	switch {
	case l.ns.fresh&unix.CLONE_NEWNS == 0:
		err = changeRoot(l.root.fd)
	case l.opt.NoPivot:
		err = l.moveRoot()
	default:
		err = l.pivot()
	}
	if err != nil {
		return err
	}
	flag, recursive, _ := rootPropagation(l.spec.Linux.RootfsPropagation)
	if err := setattr(l.root.fd, recursive, attrs{}, flag); err != nil {
		return fmt.Errorf("set rootfsPropagation: %w", err)
	}
	return nil
}

// pivot makes the root the namespace's, and lets go of the host's mounts.
func (l *launch) pivot() error {
	if err := unix.Fchdir(l.root.fd); err != nil {
		return fmt.Errorf("change directory to root: %w", err)
	}
	// pivot_root moves everybody in the namespace whose root was the old one.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	// The old root is now on top of the new one, at the same place.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("change directory to new root: %w", err)
	}
	return nil
}

func changeRoot(fd int) error {
	if err := unix.Fchdir(fd); err != nil {
		return fmt.Errorf("change directory to root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return nil
}

// moveRoot is pivot where the old root cannot be put away (--no-pivot: it is
// the kernel's initramfs). The old root stays, below the new one.
func (l *launch) moveRoot() error {
	if err := l.hideKernel(); err != nil {
		return err
	}
	if err := unix.Fchdir(l.root.fd); err != nil {
		return fmt.Errorf("change directory to root: %w", err)
	}
	if err := unix.MoveMount(l.root.fd, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	return changeRoot(l.root.fd)
}

// hideKernel unmounts the proc and sysfs of the host: whoever got at the old
// root would find in them what the container's own do not show.
func (l *launch) hideKernel() error {
	root, err := l.root.name()
	if err != nil {
		return err
	}
	info, err := readFile("/proc/thread-self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mountinfo: %w", err)
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.SplitSeq(string(info), "\n") {
		left, right, ok := strings.Cut(line, " - ")
		f := strings.Fields(left)
		if !ok || len(f) < 5 || !strings.HasPrefix(right, "proc ") && !strings.HasPrefix(right, "sysfs ") {
			continue
		}
		at := unescape.Replace(f[4])
		if strings.HasPrefix(at+"/", root+"/") {
			continue
		}
		err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == unix.EINVAL || err == unix.EPERM {
			// Locked, or gone with the one above. What is still there is covered.
			err = cover(at)
		}
		if err != nil && err != unix.ENOENT {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
	return nil
}

// cover hides a directory behind an empty tmpfs.
func cover(path string) error {
	target, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	fd, err := makeShade()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return moveTo(fd, target)
}

// name is the root's path as this thread sees it.
func (r rootfs) name() (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(fdPath(r.fd), buf)
	if err != nil {
		return "", fmt.Errorf("read path of root: %w", err)
	}
	return filepath.Clean(string(buf[:n])), nil
}

// changeRoot adds the steps with which a process takes the directory that fd
// is open on for its root.
func (p *program) changeRoot(fd int) {
	p.add("change directory to root", unix.SYS_FCHDIR, uint64(fd))
	p.add("change root", unix.SYS_CHROOT, p.str("."))
}

package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// inOwnMounts runs fn on a thread with a mount namespace of its own, a copy of
// the unit's. Processes that fn starts inherit it; the thread ends with fn and
// with it, unless somebody else is in the namespace by then, the namespace.
func inOwnMounts(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		// Not unlocked: the runtime ends the thread with the goroutine, so
		// that nothing else ever runs in the namespace.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot be ended. While it is held here the
			// other goroutine gets another one.
			result <- inOwnMounts(fn)
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			result <- fmt.Errorf("make mount namespace: %w", err)
			return
		}
		result <- fn()
	}()
	return <-result
}

// mountRootfs mounts r at target, in the mount namespace of the calling thread.
// dir is the container's directory.
func mountRootfs(r container.Rootfs, dir, target string) error {
	if err := stopPropagation(target); err != nil {
		return fmt.Errorf("mount root file system: %w", err)
	}
	if r.Path != "" {
		if err := unix.Mount(r.Path, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount root file system %s: %w", r.Path, err)
		}
		return nil
	}
	if err := mountOverlay(r.Lower, filepath.Join(dir, container.UpperDir), filepath.Join(dir, container.WorkDir), target); err != nil {
		return fmt.Errorf("mount root file system: %w", err)
	}
	return nil
}

// stopPropagation makes the mount that holds path a slave, so that what is
// mounted at path stays in this namespace. All other mounts keep their
// propagation: a volume shared with the host goes on being shared.
func stopPropagation(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for {
		err := unix.Mount("", path, "", unix.MS_SLAVE, "")
		// EINVAL: not the root of a mount, so it is further up.
		if err == nil || !errors.Is(err, unix.EINVAL) || path == "/" {
			return err
		}
		path = filepath.Dir(path)
	}
}

// mountOverlay names every directory by a descriptor: mount(2) takes one page
// of options, and a path may hold the commas and colons that separate them.
func mountOverlay(lower []string, upper, work, target string) error {
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	name := func(path string, make bool) (string, error) {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if make && errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdir(path, 0o755); err == nil {
				fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			}
		}
		if err != nil {
			return "", &os.PathError{Op: "open", Path: path, Err: err}
		}
		fds = append(fds, fd)
		return "/proc/self/fd/" + strconv.Itoa(fd), nil
	}
	var opts strings.Builder
	before := "lowerdir="
	for _, dir := range lower {
		n, err := name(dir, false)
		if err != nil {
			return err
		}
		opts.WriteString(before + n)
		before = ":"
	}
	u, err := name(upper, true)
	if err != nil {
		return err
	}
	w, err := name(work, true)
	if err != nil {
		return err
	}
	opts.WriteString(",upperdir=" + u + ",workdir=" + w)
	if err := unix.Mount("overlay", target, "overlay", 0, opts.String()); err != nil {
		return fmt.Errorf("overlay of %d layers: %w", len(lower), err)
	}
	return nil
}

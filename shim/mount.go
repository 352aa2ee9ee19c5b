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

// openRootfs returns r as a mount that is attached nowhere: no namespace lists
// it, and with its last descriptor it is gone. dir is the container's directory,
// place one that something may be mounted at for a moment.
func openRootfs(r container.Rootfs, dir, place string) (*os.File, error) {
	fd := -1
	var err error
	if r.Path != "" {
		fd, err = cloneTree(r.Path)
	} else {
		fd, err = openOverlay(r.Lower, filepath.Join(dir, container.UpperDir), filepath.Join(dir, container.WorkDir), place)
	}
	if err != nil {
		return nil, fmt.Errorf("mount root file system: %w", err)
	}
	return os.NewFile(uintptr(fd), "rootfs"), nil
}

func cloneTree(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, &os.PathError{Op: "clone tree", Path: path, Err: err}
	}
	return fd, nil
}

// attachRootfs attaches root at target, in the mount namespace of the calling
// thread.
func attachRootfs(root *os.File, target string) error {
	if err := stopPropagation(target); err != nil {
		return fmt.Errorf("mount root file system: %w", err)
	}
	err := unix.MoveMount(int(rawFD(root)), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("mount root file system at %s: %w", target, err)
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

// openOverlay names every directory by a descriptor: a path may hold the commas
// and colons that separate options.
func openOverlay(lower []string, upper, work, place string) (int, error) {
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
	names := make([]string, len(lower))
	var err error
	for i, dir := range lower {
		if names[i], err = name(dir, false); err != nil {
			return -1, err
		}
	}
	u, err := name(upper, true)
	if err != nil {
		return -1, err
	}
	w, err := name(work, true)
	if err != nil {
		return -1, err
	}
	fd, err := makeOverlay(names, u, w)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.7 there is no lowerdir+
		fd, err = mountOverlay(names, u, w, place)
	}
	if err != nil {
		return -1, fmt.Errorf("overlay of %d layers: %w", len(lower), err)
	}
	return fd, nil
}

// makeOverlay makes an overlay that is attached nowhere from the beginning.
func makeOverlay(lower []string, upper, work string) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, l := range lower {
		if err := unix.FsconfigSetString(fs, "lowerdir+", l); err != nil {
			return -1, err
		}
	}
	for _, o := range [...][2]string{{"upperdir", upper}, {"workdir", work}, {"source", "overlay"}} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

// mountOverlay is makeOverlay by mount(2), whose options are one page: the mount
// is made in a namespace of its own, and taken out of it.
func mountOverlay(lower []string, upper, work, place string) (fd int, err error) {
	err = inOwnMounts(func() error {
		if err := stopPropagation(place); err != nil {
			return err
		}
		opts := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + upper + ",workdir=" + work
		if err := unix.Mount("overlay", place, "overlay", 0, opts); err != nil {
			return err
		}
		fd, err = cloneTree(place)
		return err
	})
	return fd, err
}

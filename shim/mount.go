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

// openOverlay makes an overlay that is attached nowhere. From Linux 6.7 on it is
// so from the beginning. Before, options are one page, of mount(2): the mount is
// made at place in a namespace of its own, and taken out of it.
func openOverlay(lower []string, upper, work, place string) (fd int, err error) {
	if kernelAtLeast(6, 7) {
		fd, err = makeOverlay(lower, upper, work)
	} else {
		err = inOwnMounts(func() error {
			fd, err = mountOverlay(lower, upper, work, place)
			return err
		})
	}
	if err != nil {
		return -1, fmt.Errorf("overlay of %d layers: %w", len(lower), err)
	}
	return fd, nil
}

// dirs names directories by descriptors: a path may hold the commas and colons
// that separate options. It holds for the mount namespace it was made in.
type dirs []int

func (d *dirs) name(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	*d = append(*d, fd)
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// make is name for one that may have to be made.
func (d *dirs) make(path string) (string, error) {
	n, err := d.name(path)
	if errors.Is(err, unix.ENOENT) && unix.Mkdir(path, 0o755) == nil {
		n, err = d.name(path)
	}
	return n, err
}

func (d *dirs) close() {
	for _, fd := range *d {
		unix.Close(fd)
	}
}

func makeOverlay(lower []string, upper, work string) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	var d dirs
	defer d.close()
	for _, dir := range lower {
		n, err := d.name(dir)
		if err == nil {
			err = unix.FsconfigSetString(fs, "lowerdir+", n)
		}
		if err != nil {
			return -1, err
		}
	}
	for _, o := range [...][2]string{{"upperdir", upper}, {"workdir", work}} {
		n, err := d.make(o[1])
		if err == nil {
			err = unix.FsconfigSetString(fs, o[0], n)
		}
		if err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigSetString(fs, "source", "overlay"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

func mountOverlay(lower []string, upper, work, place string) (int, error) {
	if err := stopPropagation(place); err != nil {
		return -1, err
	}
	var d dirs
	defer d.close()
	var opts strings.Builder
	before := "lowerdir="
	for _, dir := range lower {
		n, err := d.name(dir)
		if err != nil {
			return -1, err
		}
		opts.WriteString(before + n)
		before = ":"
	}
	for _, o := range [...][2]string{{",upperdir=", upper}, {",workdir=", work}} {
		n, err := d.make(o[1])
		if err != nil {
			return -1, err
		}
		opts.WriteString(o[0] + n)
	}
	if err := unix.Mount("overlay", place, "overlay", 0, opts.String()); err != nil {
		return -1, err
	}
	return cloneTree(place)
}

// kernelAtLeast says whether the kernel's version is at least major.minor.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	a, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	b := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x > major || x == major && y >= minor
}

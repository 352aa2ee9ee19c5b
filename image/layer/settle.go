package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle finishes an applied layer with what it takes from the layers below:
// implicit directories get the attributes they have there, foreign links a
// copy of their target. lower lists the unpacked layers, top first.
//
// Without that, a layer that brings tmp/x but not tmp would make /tmp 0755.
func Settle(root *os.File, res *Result, lower []string, opts *Options) error {
	a := newApplier(root, opts)
	defer a.fds.flush()
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, dir := range lower {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open layer", Path: dir, Err: err}
		}
		fds = append(fds, fd)
	}
	for _, l := range res.Links {
		if err := a.copyForeign(l, fds); err != nil {
			return fmt.Errorf("link %q to %q: %w", l.Name, l.Target, err)
		}
	}
	for i := len(res.Implicit) - 1; i >= 0; i-- {
		if err := a.inherit(res.Implicit[i], fds); err != nil {
			return fmt.Errorf("directory %q: %w", res.Implicit[i], err)
		}
	}
	return nil
}

// below finds name in the layers below as overlayfs would show it, and opens
// it without following a symlink at its end (O_PATH). It returns -1 where
// there is nothing.
func below(lower []int, name string) (int, error) {
	for _, root := range lower {
		fd, hidden, err := lookIn(root, name)
		if err != nil || fd >= 0 || hidden {
			return fd, err
		}
	}
	return -1, nil
}

// lookIn walks one layer. hidden means that this layer covers what lies below
// it: by a whiteout, an opaque directory, or something that is no directory.
func lookIn(root int, name string) (fd int, hidden bool, err error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err = unix.Openat(root, ".", flags, 0)
	if err != nil {
		return -1, false, err
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		next, err := unix.Openat(fd, part, flags, 0)
		if errors.Is(err, unix.ENOENT) {
			hidden = isOpaque(fd)
			unix.Close(fd)
			return -1, hidden, nil
		}
		unix.Close(fd)
		if err != nil {
			return -1, false, err
		}
		fd = next
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, false, err
		}
		if isWhiteout(&st) || i < len(parts)-1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			unix.Close(fd)
			return -1, true, nil
		}
	}
	return fd, true, nil
}

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func isOpaque(fd int) bool {
	var b [1]byte
	for _, attr := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		if n, err := unix.Getxattr(procPath(fd), attr, b[:]); err == nil && n == 1 && b[0] == 'y' {
			return true
		}
	}
	return false
}

// inherit gives a directory the attributes of the one it covers.
func (a *applier) inherit(name string, lower []int) error {
	src, err := below(lower, name)
	if err != nil || src < 0 {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	dst, err := openDir(a.root, name)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	return a.copyAttrs(src, dst, &st)
}

// copyAttrs carries owner, mode, attributes and times from src (O_PATH) to dst.
func (a *applier) copyAttrs(src, dst int, st *unix.Stat_t) error {
	if !a.rootless {
		if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := copyXattrs(src, dst); err != nil {
		return err
	}
	if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	ts := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(dst), ts, 0)
}

func copyXattrs(src, dst int) error {
	self := procPath(src)
	list := make([]byte, 64<<10)
	n, err := unix.Listxattr(self, list)
	if err != nil || n == 0 {
		if errors.Is(err, unix.ENOTSUP) {
			return nil
		}
		return err
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		n, err := unix.Getxattr(self, name, value)
		if err != nil {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
		if err := unix.Fsetxattr(dst, name, value[:n], 0); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
	}
	return nil
}

// copyForeign makes l.Name a copy of a file from below, unless a later entry
// took the name. Two links into a layer below are no longer one file.
func (a *applier) copyForeign(l Link, lower []int) error {
	src, err := below(lower, l.Target)
	if err != nil {
		return err
	}
	if src < 0 {
		return fmt.Errorf("%w: the target is in no layer", ErrUnsafe)
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	dir, base := path.Split(l.Name)
	pfd, err := openDir(a.root, strings.TrimSuffix(dir, "/"))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil // the directory was replaced by a later entry
	}
	if err != nil {
		return err
	}
	defer unix.Close(pfd)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return a.copyFile(src, &st, pfd, base)
	case unix.S_IFLNK:
		return copySymlink(src, &st, pfd, base, a.rootless)
	}
	return fmt.Errorf("%w: the target is no file", ErrUnsafe)
}

func (a *applier) copyFile(src int, st *unix.Stat_t, pfd int, base string) error {
	fd, err := unix.Openat(pfd, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), base)
	defer dst.Close()
	in, err := os.Open(procPath(src))
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.Copy(dst, in); err != nil {
		return err
	}
	return a.copyAttrs(src, fd, st)
}

func copySymlink(src int, st *unix.Stat_t, pfd int, base string, rootless bool) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(src, "", buf)
	if err != nil {
		return err
	}
	err = unix.Symlinkat(string(buf[:n]), pfd, base)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil || rootless {
		return err
	}
	return unix.Fchownat(pfd, base, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

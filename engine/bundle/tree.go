package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tree reads files of a root file system that is not mounted: overlay layers,
// topmost first, or the one directory of --rootfs. What lies in it is not
// trusted, and a running container may change it meanwhile.
type Tree []string

const (
	maxLinks = 40 // as the kernel's, path_resolution(7)
	maxSize  = 16 << 20
)

// ReadFile returns the contents of a regular file as a process in the
// container would read it; fs.ErrNotExist where there is none.
func (t Tree) ReadFile(name string) ([]byte, error) {
	at, err := t.resolve(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer at.Close()
	st, err := at.Stat()
	if err != nil {
		return nil, err
	}
	// Looked at before it is opened: to open a device may have effects, to
	// open a FIFO may take for ever.
	if !st.Mode().IsRegular() || st.Size() > maxSize {
		return nil, fmt.Errorf("%s: no regular file of a sane size", name)
	}
	f, err := os.Open(procPath(at))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize))
}

// procPath is a path by which a file that was opened with O_PATH is opened again.
func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// resolve walks name component by component and returns what it leads to,
// opened with O_PATH. Links are followed inside the tree only.
func (t Tree) resolve(name string) (*os.File, error) {
	todo := strings.Split(path.Clean("/"+name), "/")[1:]
	at := "/" // resolved so far, inside the tree; no component is a link
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			at = path.Dir(at)
			continue
		}
		if part == "" || part == "." {
			continue
		}
		next := path.Join(at, part)
		f, target, err := t.lookup(next)
		if err != nil {
			return nil, err
		}
		if target == "" {
			at = next
			if len(todo) == 0 {
				return f, nil
			}
			f.Close()
			continue
		}
		f.Close()
		if links++; links > maxLinks {
			return nil, syscall.ELOOP
		}
		if path.IsAbs(target) {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil, syscall.EISDIR
}

// lookup opens what p is in the topmost layer that has it and returns, of a
// symbolic link, its target.
func (t Tree) lookup(p string) (f *os.File, target string, err error) {
	for _, layer := range t {
		f, err := openBeneath(layer, p)
		if err == nil {
			return entry(f)
		}
		switch {
		case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
			// This layer has a file, a link or a whiteout where the layers
			// below it may have a directory: it hides that.
			return nil, "", fs.ErrNotExist
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", err
		}
		if hides(layer, p) {
			break
		}
	}
	return nil, "", fs.ErrNotExist
}

// entry says what a name stands for.
func entry(f *os.File) (_ *os.File, target string, err error) {
	st, err := f.Stat()
	switch {
	case err != nil:
	case whiteout(st):
		err = fs.ErrNotExist
	case st.Mode()&fs.ModeSymlink != 0:
		if target, err = readLink(f); err == nil && target == "" {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, target, nil
}

func readLink(f *os.File) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	return string(buf[:max(n, 0)]), err
}

// openTries bounds how often a path is walked whose directories are being
// renamed: openat2(2) says EAGAIN then.
const openTries = 100

// openBeneath opens p below dir with O_PATH. ELOOP where a component of p but
// the last is a symbolic link. openat2: since Linux 5.6.
func openBeneath(dir, p string) (*os.File, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	for range openTries {
		var fd int
		fd, err = unix.Openat2(int(root.Fd()), strings.TrimPrefix(p, "/"), how)
		if err == nil {
			return os.NewFile(uintptr(fd), p), nil
		}
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return nil, err
}

// hides says whether layer has a directory on the way to p that is opaque: the
// layers below it do not show there.
func hides(layer, p string) bool {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		f, err := openBeneath(layer, dir)
		if err != nil {
			continue // not in this layer
		}
		is := opaque(f)
		f.Close()
		if is {
			return true
		}
	}
	return false
}

// whiteout: overlayfs marks a removed name by a character device 0/0.
func whiteout(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.Mode()&fs.ModeCharDevice != 0 && sys.Rdev == 0
}

func opaque(dir *os.File) bool {
	for _, attr := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		var v [1]byte
		if n, err := unix.Getxattr(procPath(dir), attr, v[:]); err == nil && n == 1 && v[0] == 'y' {
			return true
		}
	}
	return false
}

package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tree reads files of a root file system that is not mounted: overlay layers,
// topmost first, or the one directory of --rootfs.
type Tree []string

const maxLinks = 40 // as the kernel's, path_resolution(7)

// ReadFile returns the contents of a regular file as a process in the
// container would read it; fs.ErrNotExist where there is none.
func (t Tree) ReadFile(name string) ([]byte, error) {
	file, err := t.resolve(name)
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: a hostile layer may hold a FIFO under this name.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > 16<<20 {
		return nil, fmt.Errorf("%s: no regular file of a sane size", name)
	}
	data := make([]byte, st.Size())
	n, err := f.ReadAt(data, 0)
	if err != nil && n < len(data) {
		return nil, err
	}
	return data, nil
}

// resolve walks name component by component and returns where it lies on the
// host. Links are followed inside the tree only.
func (t Tree) resolve(name string) (string, error) {
	todo := strings.Split(path.Clean("/"+name), "/")[1:]
	at := "/" // resolved so far, inside the tree
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
		host, st, err := t.lookup(next)
		if err != nil {
			return "", &fs.PathError{Op: "open", Path: name, Err: err}
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			at = next
			if len(todo) == 0 {
				return host, nil
			}
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(host)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return "", &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
}

// lookup finds the topmost layer that has the path, none of whose parents is
// hidden by a whiteout or an opaque directory above it. No component of p but
// the last may be a symbolic link: resolve sees to it.
func (t Tree) lookup(p string) (string, fs.FileInfo, error) {
	for _, layer := range t {
		host := filepath.Join(layer, p)
		st, err := os.Lstat(host)
		if err == nil {
			if whiteout(st) {
				return "", nil, fs.ErrNotExist
			}
			return host, st, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", nil, err
		}
		if hidden(layer, p) {
			break
		}
	}
	return "", nil, fs.ErrNotExist
}

// hidden says whether layer hides what the layers below it have at p.
func hidden(layer, p string) bool {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		host := filepath.Join(layer, dir)
		st, err := os.Lstat(host)
		if err != nil {
			continue
		}
		if !st.IsDir() || opaque(host) {
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

func opaque(dir string) bool {
	for _, attr := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		var v [1]byte
		if n, err := unix.Lgetxattr(dir, attr, v[:]); err == nil && n == 1 && v[0] == 'y' {
			return true
		}
	}
	return false
}

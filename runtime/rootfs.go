package runtime

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// rootfs is the container's root directory, held by descriptor. Every path of
// the container is resolved below it by the kernel (openat2, Linux 5.6), so
// that no symlink and no rename in it leads out.
type rootfs struct {
	fd int
	// proc is what has been mounted on /proc, not positive while there is nothing:
	// paths below begin there, so that nobody who can move /proc itself gets
	// another place masked in its stead (CVE-2023-27561).
	proc int
	// owner is the container's uid and gid 0 as the host sees them: what is
	// made in the root belongs to them. Inodes of a file system that belongs to
	// a user namespace cannot be made by anybody whom it does not map.
	uid, gid int
}

// forgetProc lets go of what is on /proc.
func (r *rootfs) forgetProc() {
	if r.proc > 0 {
		unix.Close(r.proc)
	}
	r.proc = -1
}

const maxLinks = 40

// open opens a path of the container as inside of it, but never through a magic link.
func (r rootfs) open(p string, flags uint64, mode uint64) (int, error) {
	return r.resolve(p, flags, mode, unix.RESOLVE_NO_MAGICLINKS)
}

func (r rootfs) resolve(p string, flags, mode, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Mode: mode, Resolve: unix.RESOLVE_IN_ROOT | resolve}
	// "/.." and "" are the root itself.
	p = strings.TrimLeft(p, "/")
	top := r.fd
	if below, ok := strings.CutPrefix(p, "proc/"); ok && r.proc > 0 && !strings.Contains(below, "..") {
		top, p = r.proc, strings.TrimLeft(below, "/")
	}
	if p == "" {
		p = "."
	}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(top, p, &how)
		// EAGAIN: something was renamed or mounted meanwhile and the kernel
		// cannot be sure that a ".." stayed inside. A hostile tree can do that
		// for ever.
		if (err == unix.EAGAIN || err == unix.EINTR) && try < 128 {
			continue
		}
		return fd, err
	}
}

// path opens a path of the container with O_PATH.
func (r rootfs) path(p string) (int, error) { return r.open(p, unix.O_PATH, 0) }

// ordinary opens (O_PATH) a directory or file of the container, making it where
// it is missing, with no symbolic link in its path.
func (r rootfs) ordinary(p string, file bool) (int, error) {
	flags := uint64(unix.O_PATH)
	if !file {
		flags |= unix.O_DIRECTORY
	}
	fd, err := r.resolve(p, flags, 0, unix.RESOLVE_NO_SYMLINKS)
	if err == unix.ENOENT {
		if file {
			fd, err = r.touch(p)
		} else {
			fd, err = r.mkdirAll(p, 0o755)
		}
		if err != nil {
			return -1, err
		}
		unix.Close(fd)
		fd, err = r.resolve(p, flags, 0, unix.RESOLVE_NO_SYMLINKS)
	}
	if err == unix.ELOOP {
		return -1, errors.New("it must not be, nor be below, a symbolic link")
	}
	return fd, err
}

// as runs f, which makes inodes, as the container's root: what it makes is that
// user's, and, as for root inside, no mode is in its way. Taking another file
// system id drops the capabilities for that unless the securebits say not to.
func (r rootfs) as(f func() error) error {
	if r.uid == 0 && r.gid == 0 {
		return f()
	}
	// All of it of this thread alone. The ids cannot fail for root; without the
	// right to set securebits the modes count, as for any other.
	if bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0); err == nil {
		unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits|noSetuidFixup), 0, 0, 0) //nolint:errcheck // as above
		defer unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits), 0, 0, 0)         //nolint:errcheck // as above
	}
	unix.SetfsgidRetGid(r.gid)
	unix.SetfsuidRetUid(r.uid)
	defer func() {
		unix.SetfsuidRetUid(0)
		unix.SetfsgidRetGid(0)
	}()
	return f()
}

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP of linux/securebits.h.
const noSetuidFixup = 1 << 2

// mkdirAll opens a directory of the container, making it and its parents where
// they are missing. A dangling symlink on the way is followed and its target made.
func (r rootfs) mkdirAll(p string, mode uint32) (int, error) { return r.mkdirLinks(p, mode, maxLinks) }

func (r rootfs) mkdirLinks(p string, mode uint32, links int) (int, error) {
	fd, err := r.open(p, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != unix.ENOENT {
		return fd, err
	}
	if links == 0 {
		return -1, unix.ELOOP
	}
	dir, base := path.Split(strings.TrimRight(p, "/"))
	if base == ".." || base == "." || base == "" {
		return -1, unix.ENOENT
	}
	parent, err := r.mkdirLinks(dir, mode, links)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	err = r.as(func() error { return unix.Mkdirat(parent, base, mode) })
	if err == unix.EEXIST {
		if target, ok := readlinkat(parent, base); ok {
			if !strings.HasPrefix(target, "/") {
				target = dir + "/" + target
			}
			return r.mkdirLinks(target, mode, links-1)
		}
		// Made by somebody else at this moment.
		err = nil
	}
	if err != nil {
		return -1, err
	}
	return r.open(p, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// touch opens (O_PATH) a file of the container that something is mounted on,
// making an empty one where it is missing.
func (r rootfs) touch(p string) (int, error) { return r.touchLinks(p, maxLinks) }

func (r rootfs) touchLinks(p string, links int) (int, error) {
	fd, err := r.path(p)
	if err != unix.ENOENT {
		return fd, err
	}
	if links == 0 {
		return -1, unix.ELOOP
	}
	dir, base := path.Split(strings.TrimRight(p, "/"))
	if base == ".." || base == "." || base == "" {
		return -1, unix.ENOENT
	}
	parent, err := r.mkdirAll(dir, 0o755)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	err = r.as(func() error {
		f, err := unix.Openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(f)
		}
		return err
	})
	if err == unix.EEXIST {
		if target, ok := readlinkat(parent, base); ok {
			if !strings.HasPrefix(target, "/") {
				target = dir + "/" + target
			}
			return r.touchLinks(target, links-1)
		}
		err = nil
	}
	if err != nil {
		return -1, err
	}
	return r.path(p)
}

func readlinkat(dir int, name string) (string, bool) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", false
	}
	return string(buf[:n]), true
}

// at opens the parent of p, made where missing, and returns p's last element.
func (r rootfs) parent(p string) (int, string, error) {
	dir, base := path.Split(path.Clean("/" + p))
	fd, err := r.mkdirAll(dir, 0o755)
	if err != nil {
		return -1, "", fmt.Errorf("make directory %s: %w", dir, err)
	}
	return fd, base, nil
}

// symlink makes a symlink unless something is there already.
func (r rootfs) symlink(target, p string) error {
	dir, base, err := r.parent(p)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = r.as(func() error { return unix.Symlinkat(target, dir, base) })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make symlink %s: %w", p, err)
	}
	return nil
}

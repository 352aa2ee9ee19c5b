package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// dirAttr is what a directory gets when everything below it is in place: until
// then its mode would be in the way, and its times would move. The inode tells
// whether the path still means the directory it was recorded for.
type dirAttr struct {
	ino      uint64
	implicit bool
	hdr      *tar.Header
}

// fdCache keeps directories open by the path the archive used for them. Tar
// streams go through a tree directory by directory, so it rarely misses.
type fdCache struct {
	fds   map[string]int
	stale bool // something was removed: a path may have led through it
}

const maxOpenDirs = 64

func (c *fdCache) put(dir string, fd int) {
	if len(c.fds) >= maxOpenDirs {
		c.flush()
	}
	c.fds[dir] = fd
}

func (c *fdCache) flush() {
	c.stale = false
	for _, fd := range c.fds {
		unix.Close(fd)
	}
	clear(c.fds)
}

// openDir opens a directory below root; symlinks on the way, and at its end,
// are resolved as if root were "/".
func openDir(root int, dir string) (int, error) {
	if dir == "" {
		dir = "."
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(root, dir, &how)
		// EAGAIN: a rename somewhere on the machine raced with a ".." in a
		// symlink; the kernel asks to try again.
		if (err == unix.EAGAIN && try < 128) || err == unix.EINTR {
			continue
		}
		return fd, err
	}
}

// parent returns the open directory dir, made where it is missing. The caller
// does not close it, and must not use it after the next call.
func (a *applier) parent(dir string) (int, error) {
	if a.fds.stale {
		a.fds.flush()
	}
	if fd, ok := a.fds.fds[dir]; ok {
		return fd, nil
	}
	fd, err := openDir(a.root, dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		fd, err = a.makeImplicit(dir)
	}
	if err != nil {
		return -1, fmt.Errorf("open parent: %w", err)
	}
	a.fds.put(dir, fd)
	return fd, nil
}

// makeImplicit makes every missing directory of dir. A whiteout or file that
// an earlier entry left in the way gives way to the directory.
func (a *applier) makeImplicit(dir string) (int, error) {
	made := ""
	fd, err := openDir(a.root, "")
	if err != nil {
		return -1, err
	}
	for _, base := range strings.Split(dir, "/") {
		made = path.Join(made, base)
		next, err := openDir(a.root, made)
		if err == nil {
			unix.Close(fd)
			fd = next
			continue
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			unix.Close(fd)
			return -1, err
		}
		replaced, err := a.mkdirat(fd, base, true)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		if fd, err = openDir(a.root, made); err != nil {
			return -1, err
		}
		if err := a.newDir(fd, made, replaced, nil); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// mkdirat makes a directory, replacing anything but a directory; implicit,
// nor a symlink: one that leads to a directory would have been followed, and
// what one that leads nowhere means is not ours to guess. It reports whether
// it replaced a whiteout: the new directory then hides what is below.
func (a *applier) mkdirat(pfd int, base string, implicit bool) (whiteout bool, err error) {
	err = unix.Mkdirat(pfd, base, 0o755)
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(pfd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, nil
	}
	if implicit && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return false, fmt.Errorf("symlink %q leads nowhere: %w", base, ErrUnsafe)
	}
	if err := a.remove(pfd, base); err != nil {
		return false, err
	}
	return isWhiteout(&st), unix.Mkdirat(pfd, base, 0o755)
}

// mkdir applies a directory entry. An existing directory is kept and takes
// the new attributes; a symlink is replaced, as tar does it.
func (a *applier) mkdir(dir, base string, hdr *tar.Header) error {
	pfd, err := a.parent(dir)
	if err != nil {
		return err
	}
	replaced, err := a.mkdirat(pfd, base, false)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(pfd, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return a.newDir(fd, path.Join(dir, base), replaced, hdr)
}

func (a *applier) rootDir(hdr *tar.Header) error {
	return a.newDir(a.root, ".", false, hdr)
}

// newDir records the directory fd for the end, hdr nil for an implicit one.
func (a *applier) newDir(fd int, name string, opaque bool, hdr *tar.Header) error {
	if opaque {
		if err := a.markOpaque(fd); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if _, ok := a.dirs[name]; !ok {
		a.order = append(a.order, name)
	}
	a.dirs[name] = &dirAttr{ino: st.Ino, implicit: hdr == nil, hdr: hdr}
	if hdr == nil || a.rootless {
		return nil
	}
	return a.chown(fd, hdr)
}

// finishDirs gives every directory its attributes and times, children first.
func (a *applier) finishDirs() error {
	a.fds.flush()
	for i := len(a.order) - 1; i >= 0; i-- {
		name := a.order[i]
		d := a.dirs[name]
		if err := a.finishDir(name, d); err != nil {
			return fmt.Errorf("directory %q: %w", name, err)
		}
	}
	return nil
}

func (a *applier) finishDir(name string, d *dirAttr) error {
	fd, err := openDir(a.root, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		d.implicit = false
		return nil // replaced by a later entry
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Ino != d.ino {
		d.implicit = false
		return nil
	}
	if d.hdr == nil {
		return unix.Fchmod(fd, 0o755) // whatever the umask made of it
	}
	if err := a.fdAttrs(fd, d.hdr); err != nil {
		return err
	}
	return setTimes(fd, ".", d.hdr)
}

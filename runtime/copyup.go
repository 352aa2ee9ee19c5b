package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// plainTmpfs says that the file system is a tmpfs which the runtime makes.
func (m *mount) plainTmpfs() bool { return m.kind == "tmpfs" && !m.opt.bind }

// likeBelow makes a new tmpfs, attached nowhere yet, like the directory of the
// container that it is going to hide: its root has that one's owner and mode
// where the options say nothing of them, as runc and crun have it, and with
// tmpcopyup its content.
func (m *mount) likeBelow(r rootfs) error {
	if !m.opt.tmpcopyup && m.says("mode") {
		return nil
	}
	below, err := r.open(m.spec.Destination, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory below: %w", err)
	}
	defer unix.Close(below)
	root, err := unix.Openat(m.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open root: %w", err)
	}
	defer unix.Close(root)
	if m.opt.tmpcopyup {
		if err := r.copyDir(below, root); err != nil {
			return fmt.Errorf("tmpcopyup: %w", err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(below, &st); err != nil {
		return err
	}
	if m.opt.tmpcopyup && !m.says("uid") && !m.says("gid") {
		if err := chown(root, "", &st); err != nil {
			return fmt.Errorf("tmpcopyup: set owner: %w", err)
		}
	}
	if !m.says("mode") {
		if err := unix.Fchmod(root, st.Mode&0o7777); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	if m.opt.tmpcopyup && m.opt.attr.set&unix.MOUNT_ATTR_RDONLY != 0 {
		// Left out when it was made: see makeAttrs.
		return setattr(m.fd, false, attrs{set: unix.MOUNT_ATTR_RDONLY}, 0)
	}
	return nil
}

// says whether the options for the file system name this one.
func (m *mount) says(option string) bool {
	return slices.ContainsFunc(m.opt.data, func(o string) bool {
		k, _, _ := strings.Cut(o, "=")
		return k == option
	})
}

// makeAttrs are the attributes that a mount is made with.
func (m *mount) makeAttrs() uint64 {
	if m.opt.tmpcopyup {
		return m.opt.attr.set &^ unix.MOUNT_ATTR_RDONLY // it is filled first
	}
	return m.opt.attr.set
}

// maxDepth bounds copyDir: two descriptors are open for each directory.
const maxDepth = 200

// copyDir copies what is in a directory of the container into another one:
// owners, modes, times of files and symlinks; sockets are left out. Extended
// attributes are not copied, and what has several names becomes several files.
//
// The tree is hostile and may change meanwhile. Nothing in it is ever opened but
// what was looked at before, by descriptor.
func (r rootfs) copyDir(from, to int) error { return r.copyLevel(from, to, 0) }

func (r rootfs) copyLevel(from, to, depth int) error {
	if depth == maxDepth {
		return unix.ELOOP
	}
	names, err := list(from)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	for _, name := range names {
		if err := r.copyEntry(from, to, name, depth); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// list returns the names in a directory.
func list(dir int) ([]string, error) {
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

func (r rootfs) copyEntry(from, to int, name string, depth int) error {
	src, err := unix.Openat(from, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = r.copySubdir(src, to, name, depth)
	case unix.S_IFREG:
		err = r.copyFile(src, to, name)
	case unix.S_IFLNK:
		target, ok := readlinkat(src, "")
		if !ok {
			return unix.EINVAL
		}
		err = r.as(func() error { return unix.Symlinkat(target, to, name) })
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
		err = r.as(func() error { return unix.Mknodat(to, name, st.Mode&unix.S_IFMT, int(st.Rdev)) })
		if err == unix.EPERM {
			return nil // no device nodes here: of no use below nodev either
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if err := chown(to, name, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		// After the owner: chown takes setuid away.
		if err := unix.Fchmodat(to, name, st.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// chown gives an inode that was just made the owner of another one. Somebody
// whom the file system's user namespace does not know cannot own anything there.
func chown(dir int, name string, st *unix.Stat_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err := unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), flags)
	if err == unix.EINVAL || err == unix.EOVERFLOW {
		return nil
	}
	return err
}

func (r rootfs) copySubdir(src, to int, name string, depth int) error {
	from, err := reopen(src, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := r.as(func() error { return unix.Mkdirat(to, name, 0o700) }); err != nil {
		return err
	}
	sub, err := unix.Openat(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	return r.copyLevel(from, sub, depth+1)
}

func (r rootfs) copyFile(src, to int, name string) error {
	from, err := reopen(src, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	file := -1
	err = r.as(func() (err error) {
		file, err = unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(file)
	for {
		n, err := unix.Sendfile(file, from, nil, 1<<30)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

// reopen opens what an O_PATH descriptor is of, which has been looked at.
func reopen(fd, flags int) (int, error) {
	return unix.Open(fdPath(fd), flags|unix.O_CLOEXEC, 0)
}

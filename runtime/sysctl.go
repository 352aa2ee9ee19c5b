package runtime

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls sets linux.sysctl. What a name means is a matter of the thread's
// namespaces, not of the /proc that it is written by: the container's own is
// taken where it has one, since the host's may be read-only, as in a container.
func (l *launch) sysctls() error {
	list := l.spec.Linux.Sysctl
	if len(list) == 0 {
		return nil
	}
	proc, err := l.openSysctls()
	if err != nil {
		return fmt.Errorf("set sysctl: %w", err)
	}
	defer unix.Close(proc)
	for name, value := range list {
		if err := setSysctl(proc, name, value, l.ns.all()); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// openSysctls opens the /proc/sys to write to, and makes sure that it is one.
func (l *launch) openSysctls() (int, error) {
	dir, open := "/proc/sys", func(p string) (int, error) {
		return unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	for i := range l.mounts {
		if m := &l.mounts[i]; m.kind == "proc" && path.Clean(m.spec.Destination) == "/proc" && m.opt.attr.set&unix.MOUNT_ATTR_RDONLY == 0 {
			open = l.root.path
		}
	}
	fd, err := open(dir)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", dir, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		unix.Close(fd)
		return -1, fmt.Errorf("open %s: not a proc file system", dir)
	}
	return fd, nil
}

// setSysctl writes a sysctl that belongs to one of the container's namespaces;
// any other would be the host's. proc is open on /proc/sys.
func setSysctl(proc int, name, value string, ns uint64) error {
	p := name
	if !strings.Contains(name, "/") {
		p = strings.ReplaceAll(name, ".", "/")
	}
	p = path.Clean("/" + p)
	var needs uint64
	switch {
	case strings.HasPrefix(p, "/net/"):
		needs = unix.CLONE_NEWNET
	case strings.HasPrefix(p, "/fs/mqueue/"), strings.HasPrefix(p, "/kernel/msg"),
		strings.HasPrefix(p, "/kernel/shm"), p == "/kernel/sem":
		needs = unix.CLONE_NEWIPC
	case p == "/kernel/domainname" || p == "/kernel/hostname":
		needs = unix.CLONE_NEWUTS
	default:
		return fmt.Errorf("not in a separate kernel namespace")
	}
	if ns&needs == 0 {
		return fmt.Errorf("not allowed in the host's namespace")
	}
	fd, err := unix.Openat2(proc, p[1:], &unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}

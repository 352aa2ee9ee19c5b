package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultDevices are in every container that has a /dev of its own.
var defaultDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
	{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
	{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
}

var devLinks = [][2]string{
	{"/proc/self/fd", "/dev/fd"},
	{"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"},
	{"/proc/self/fd/2", "/dev/stderr"},
}

// hostDev says that the container's /dev is a directory bound from outside,
// whose content is not the runtime's.
func hostDev(list []mount) bool {
	for i := range list {
		if list[i].opt.bind && path.Clean(list[i].spec.Destination) == "/dev" {
			return true
		}
	}
	return false
}

// setupDev fills /dev: devices and the usual symlinks. In a user namespace,
// where nobody may make device nodes that work, the host's are bound.
func setupDev(r rootfs, devices []specs.LinuxDevice, user bool) error {
	own := make(map[string]bool, len(devices))
	for i := range devices {
		own[path.Clean(devices[i].Path)] = true
		if err := makeDevice(r, &devices[i], user); err != nil {
			return fmt.Errorf("create device %s: %w", devices[i].Path, err)
		}
	}
	for i := range defaultDevices {
		if own[defaultDevices[i].Path] {
			continue
		}
		// What the image has there stays: it harms nobody but the container.
		if err := makeDevice(r, &defaultDevices[i], user); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("create device %s: %w", defaultDevices[i].Path, err)
		}
	}
	for _, l := range devLinks {
		if err := r.symlink(l[0], l[1]); err != nil {
			return err
		}
	}
	if unix.Access("/proc/kcore", unix.F_OK) == nil {
		if err := r.symlink("/proc/kcore", "/dev/core"); err != nil {
			return err
		}
	}
	// A ptmx that the image brought would be the host's.
	if dir, base, err := r.parent("/dev/ptmx"); err == nil {
		unix.Unlinkat(dir, base, 0)
		unix.Close(dir)
	}
	return r.symlink("pts/ptmx", "/dev/ptmx")
}

// makeDevice makes one device node.
// Preconditions: the thread's umask is 0.
func makeDevice(r rootfs, d *specs.LinuxDevice, user bool) error {
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	switch d.Type {
	case "c", "u":
		mode |= unix.S_IFCHR
	case "b":
		mode |= unix.S_IFBLK
	case "p":
		mode |= unix.S_IFIFO
	default:
		return fmt.Errorf("unknown type %q", d.Type)
	}
	if user {
		return bindDevice(r, d)
	}
	dir, base, err := r.parent(d.Path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = unix.Mknodat(dir, base, mode, int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
	switch err {
	case nil:
	case unix.EEXIST:
		return sameDevice(dir, base, mode, d)
	case unix.EPERM:
		return bindDevice(r, d)
	default:
		return err
	}
	if d.UID != nil || d.GID != nil {
		uid, gid := 0, 0
		if d.UID != nil {
			uid = int(*d.UID)
		}
		if d.GID != nil {
			gid = int(*d.GID)
		}
		return unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil
}

// sameDevice makes sure that what is there already is what is wanted.
func sameDevice(dir int, base string, mode uint32, d *specs.LinuxDevice) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != mode&unix.S_IFMT || d.Type != "p" && st.Rdev != unix.Mkdev(uint32(d.Major), uint32(d.Minor)) {
		return fmt.Errorf("there is something else: %w", unix.EEXIST)
	}
	return nil
}

// bindDevice puts the host's node of the same name into the container.
func bindDevice(r rootfs, d *specs.LinuxDevice) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, d.Path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	target, err := r.touch(d.Path)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return moveTo(fd, target)
}

// terminal is the pseudo terminal of a container's process.
type terminal struct {
	master, slave int
	name          string
}

// openTerminal makes a pseudo terminal in the container's own devpts.
func openTerminal(r rootfs, uid, gid int, size *specs.Box) (terminal, error) {
	t := terminal{-1, -1, ""}
	master, err := r.open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return t, fmt.Errorf("open /dev/pts/ptmx: %w", err)
	}
	t.master = master
	if err := t.open(uid, gid, size); err != nil {
		t.close()
		return terminal{-1, -1, ""}, fmt.Errorf("open terminal: %w", err)
	}
	return t, nil
}

// open checks that the master is what it should be, whatever the container's
// /dev/pts is made of, and opens the slave.
func (t *terminal) open(uid, gid int, size *specs.Box) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := unix.Fstat(t.master, &st); err != nil {
		return err
	}
	if err := unix.Fstatfs(t.master, &fs); err != nil {
		return err
	}
	if st.Rdev != unix.Mkdev(5, 2) || st.Mode&unix.S_IFMT != unix.S_IFCHR || fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return fmt.Errorf("/dev/pts/ptmx: %w", os.ErrInvalid)
	}
	if err := unix.SetNonblock(t.master, false); err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(t.master, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(t.master, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	t.name = fmt.Sprintf("/dev/pts/%d", n)
	// By ioctl rather than by name: nothing can be in between (Linux 4.13).
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return errno
	}
	t.slave = int(slave)
	if err := unix.Fchown(t.slave, uid, gid); err != nil && err != unix.EINVAL && err != unix.EPERM && err != unix.EROFS {
		return err
	}
	if size != nil && (size.Width > 0 || size.Height > 0) {
		ws := &unix.Winsize{Col: uint16(size.Width), Row: uint16(size.Height)}
		return unix.IoctlSetWinsize(t.master, unix.TIOCSWINSZ, ws)
	}
	return nil
}

func (t *terminal) close() {
	if t.master >= 0 {
		unix.Close(t.master)
	}
	if t.slave >= 0 {
		unix.Close(t.slave)
	}
}

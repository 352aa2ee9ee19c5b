package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const xattrPrefix = "SCHILY.xattr."

// fdAttrs sets owner, extended attributes and mode of an open file or
// directory. The order matters: chown clears set-id bits and
// security.capability.
func (a *applier) fdAttrs(fd int, hdr *tar.Header) error {
	if err := a.chown(fd, hdr); err != nil {
		return err
	}
	err := a.eachXattr(hdr, func(name string, value []byte) error {
		return unix.Fsetxattr(fd, name, value, 0)
	})
	if err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(hdr.Mode&0o7777)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return nil
}

func (a *applier) chown(fd int, hdr *tar.Header) error {
	if a.rootless {
		return nil
	}
	if err := checkID(hdr); err != nil {
		return err
	}
	// A new file already belongs to us; one syscall less for most of them. A
	// directory's set-group-id bit, which would change that, comes last.
	if hdr.Uid == a.euid && hdr.Gid == a.egid {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && int(st.Uid) == hdr.Uid && int(st.Gid) == hdr.Gid {
			return nil
		}
	}
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return nil
}

func checkID(hdr *tar.Header) error {
	// -1 means "leave it" to chown.
	if hdr.Uid < 0 || int64(hdr.Uid) >= math.MaxUint32 || hdr.Gid < 0 || int64(hdr.Gid) >= math.MaxUint32 {
		return fmt.Errorf("owner %d:%d: %w", hdr.Uid, hdr.Gid, ErrUnsafe)
	}
	return nil
}

// attrs sets what a symlink, fifo or device can have, by name.
func (a *applier) attrs(pfd int, base string, hdr *tar.Header) error {
	if !a.rootless {
		if err := checkID(hdr); err != nil {
			return err
		}
		if err := unix.Fchownat(pfd, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	// There is no setxattrat(2) before Linux 6.13.
	self := fmt.Sprintf("/proc/self/fd/%d/%s", pfd, base)
	err := a.eachXattr(hdr, func(name string, value []byte) error {
		return unix.Lsetxattr(self, name, value, 0)
	})
	if err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeSymlink {
		// Safe with a name: the last component is a node we have just made.
		if err := unix.Fchmodat(pfd, base, uint32(hdr.Mode&0o7777), 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	return setTimes(pfd, base, hdr)
}

// eachXattr calls set for the attributes of an entry that may be kept.
// overlayfs' own are dropped: trusted.overlay.redirect would graft another
// directory into the image.
func (a *applier) eachXattr(hdr *tar.Header, set func(name string, value []byte) error) error {
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		err := set(name, []byte(value))
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP):
			// Not on this file system, or no such module (security.selinux).
		case errors.Is(err, unix.EPERM) && (a.rootless || strings.HasPrefix(name, "user.")):
			// user.* exists for files and directories only.
		default:
			return fmt.Errorf("set attribute %q: %w", name, err)
		}
	}
	return nil
}

func setTimes(pfd int, base string, hdr *tar.Header) error {
	mtime := timespec(hdr.ModTime)
	atime := mtime
	if !hdr.AccessTime.IsZero() {
		atime = timespec(hdr.AccessTime)
	}
	err := unix.UtimesNanoAt(pfd, base, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

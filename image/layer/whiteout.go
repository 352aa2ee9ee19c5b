package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whPrefix   = ".wh."
	whOpaque   = ".wh..opq" // after whPrefix
	maxForeign = 1 << 16
)

// whiteout applies an entry ".wh."+rest in directory dir. A whiteout hides
// what lies in the layers below and never what this layer itself brings,
// whatever the order of the entries (OCI image-spec, layer.md).
func (a *applier) whiteout(dir, rest string) error {
	if rest == "" || rest == "." || rest == ".." {
		return fmt.Errorf("whiteout of nothing: %w", ErrUnsafe)
	}
	if rest != whOpaque && strings.HasPrefix(rest, whPrefix) {
		return nil // AUFS' own bookkeeping: .wh..wh.plnk, .wh..wh.orph, .wh..wh.aufs
	}
	pfd, err := a.parent(dir)
	if err != nil {
		return err
	}
	if rest == whOpaque {
		return a.markOpaque(pfd)
	}
	// A device 0/0 needs no privilege since Linux 5.8.
	err = unix.Mknodat(pfd, rest, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := unix.Openat(pfd, rest, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // this layer's own file hides the one below anyway
	}
	defer unix.Close(fd)
	return a.markOpaque(fd)
}

func (a *applier) markOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, a.opaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark opaque: %w", err)
	}
	return nil
}

// underMeta reports whether dir lies in one of AUFS' metadata directories.
func underMeta(dir string) bool {
	return strings.HasPrefix(dir, whPrefix+whPrefix)
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

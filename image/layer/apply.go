package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors a caller can tell apart. ErrUnsafe and ErrTooBig mean that the
// archive is at fault, whatever its digest says.
var (
	ErrUnsafe = errors.New("unsafe archive entry")
	ErrTooBig = errors.New("archive exceeds the limits")
)

const (
	defaultMaxSize    = 512 << 30
	defaultMaxEntries = 8 << 20
	copyBuffer        = 256 << 10
)

// Options say how Apply treats what the process may not do, and how much it
// takes. The zero value is for root.
type Options struct {
	// Rootless leaves ownership as it falls, skips device nodes and the
	// attributes only root may set, and marks opaque directories with
	// user.overlay.opaque (overlayfs option userxattr, Linux 5.11).
	Rootless bool
	// MaxSize bounds the sum of all file sizes, holes included; MaxEntries the
	// number of entries. Zero means the default (512 GiB, 8 Mi).
	MaxSize    int64
	MaxEntries int
}

// A Link is a hard link whose target is not in its own layer.
type Link struct {
	Name, Target string
}

// Result is what Apply leaves to do and to tell.
type Result struct {
	Size     int64    // sum of the sizes of regular files
	Implicit []string // parents first
	Links    []Link
}

// SelfContained reports whether the layer means the same on any base.
func (r *Result) SelfContained() bool { return len(r.Implicit) == 0 && len(r.Links) == 0 }

// Apply unpacks the tar stream r into the directory root, which must be empty.
// It reads r to its end, padding included, unless it fails. On failure root
// holds a part of the layer and is the caller's to remove.
func Apply(ctx context.Context, root *os.File, r io.Reader, opts *Options) (*Result, error) {
	a := newApplier(root, opts)
	defer a.fds.flush()
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if n >= a.maxEntries {
			return nil, fmt.Errorf("more than %d entries: %w", a.maxEntries, ErrTooBig)
		}
		if err := a.entry(hdr, tr); err != nil {
			return nil, fmt.Errorf("entry %q: %w", shorten(hdr.Name), err)
		}
	}
	if err := a.finishDirs(); err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, a.buf); err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	return a.result(), nil
}

type applier struct {
	root       int
	fds        fdCache
	rootless   bool
	maxSize    int64
	maxEntries int
	euid, egid int
	opaque     string // attribute that marks an opaque directory
	buf        []byte
	size       int64
	dirs       map[string]*dirAttr
	order      []string // keys of dirs, parents first
	links      []Link
}

func newApplier(root *os.File, opts *Options) *applier {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.MaxSize == 0 {
		o.MaxSize = defaultMaxSize
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = defaultMaxEntries
	}
	a := &applier{
		root:       int(root.Fd()),
		rootless:   o.Rootless,
		maxSize:    o.MaxSize,
		maxEntries: o.MaxEntries,
		euid:       os.Geteuid(),
		egid:       os.Getegid(),
		opaque:     "trusted.overlay.opaque",
		buf:        make([]byte, copyBuffer),
		dirs:       make(map[string]*dirAttr),
	}
	if o.Rootless {
		a.opaque = "user.overlay.opaque"
	}
	a.fds.fds = make(map[string]int)
	return a
}

func (a *applier) result() *Result {
	res := &Result{Size: a.size, Links: a.links}
	for _, name := range a.order {
		if a.dirs[name].implicit {
			res.Implicit = append(res.Implicit, name)
		}
	}
	return res
}

// entry applies one entry. Its errors name the cause; Apply adds the entry.
func (a *applier) entry(hdr *tar.Header, body io.Reader) error {
	switch hdr.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil // git archive writes one: a comment
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return fmt.Errorf("root is not a directory: %w", ErrUnsafe)
		}
		return a.rootDir(hdr)
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if rest, ok := strings.CutPrefix(base, whPrefix); ok {
		return a.whiteout(dir, rest)
	}
	if underMeta(dir) {
		return nil
	}
	if hdr.Typeflag == tar.TypeDir {
		return a.mkdir(dir, base, hdr)
	}
	pfd, err := a.parent(dir)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return a.regular(pfd, base, hdr, body)
	case tar.TypeLink:
		return a.hardlink(pfd, name, base, hdr)
	case tar.TypeSymlink:
		err = a.create(pfd, base, func() error { return unix.Symlinkat(hdr.Linkname, pfd, base) })
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return a.node(pfd, base, hdr)
	default:
		return fmt.Errorf("entry type %q: %w", hdr.Typeflag, ErrUnsafe)
	}
	if err != nil {
		return err
	}
	return a.attrs(pfd, base, hdr)
}

// cleanName gives the path below the root, "." for the root itself. A leading
// slash means the root of the layer, as in every other implementation; a name
// that climbs out of the root is refused rather than clipped.
func cleanName(name string) (string, error) {
	if len(name) >= unix.PathMax {
		return "", fmt.Errorf("name of %d bytes: %w", len(name), ErrUnsafe)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("NUL in a name: %w", ErrUnsafe)
	}
	name = path.Clean(strings.TrimLeft(name, "/"))
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", fmt.Errorf("path leaves the layer: %w", ErrUnsafe)
	}
	return name, nil
}

// shorten keeps a hostile name from filling an error text.
func shorten(name string) string { return name[:min(len(name), 256)] }

// regular writes a file. The descriptor is closed before the times are set:
// nothing written later may move them.
func (a *applier) regular(pfd int, base string, hdr *tar.Header, body io.Reader) error {
	if hdr.Size > a.maxSize-a.size {
		return fmt.Errorf("more than %d bytes: %w", a.maxSize, ErrTooBig)
	}
	a.size += hdr.Size
	fd := -1
	err := a.create(pfd, base, func() (err error) {
		fd, err = unix.Openat(pfd, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	if isSparse(hdr) {
		err = writeSparse(fd, body, hdr.Size, a.buf)
	} else {
		err = writeAll(fd, body, a.buf)
	}
	if err == nil {
		err = a.fdAttrs(fd, hdr)
	}
	if cerr := unix.Close(fd); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	if err != nil {
		return err
	}
	return setTimes(pfd, base, hdr)
}

// hardlink links to another entry of this layer. A target that is not here is
// remembered: it may lie in a layer below.
func (a *applier) hardlink(pfd int, name, base string, hdr *tar.Header) error {
	target, err := cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("link target %q: %w", shorten(hdr.Linkname), err)
	}
	if target == "." {
		return fmt.Errorf("link to the root: %w", ErrUnsafe)
	}
	if target == name {
		return nil
	}
	tdir, tbase := path.Split(target)
	if strings.HasPrefix(tbase, whPrefix) {
		return fmt.Errorf("link to a whiteout: %w", ErrUnsafe)
	}
	tfd, err := openDir(a.root, strings.TrimSuffix(tdir, "/"))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return a.foreign(name, target)
	}
	if err != nil {
		return fmt.Errorf("link target %q: %w", shorten(hdr.Linkname), err)
	}
	defer unix.Close(tfd)
	var st unix.Stat_t
	if err := unix.Fstatat(tfd, tbase, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return a.foreign(name, target)
		}
		return fmt.Errorf("link target %q: %w", shorten(hdr.Linkname), err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR || isWhiteout(&st) {
		return fmt.Errorf("link target %q is no file: %w", shorten(hdr.Linkname), ErrUnsafe)
	}
	// A link to itself must not make room for itself.
	if same(pfd, base, &st) {
		return nil
	}
	return a.create(pfd, base, func() error { return unix.Linkat(tfd, tbase, pfd, base, 0) })
}

// foreign records a link into the layers below. It is kept in order: Settle
// makes it only where no later entry took the name.
func (a *applier) foreign(name, target string) error {
	if len(a.links) >= maxForeign {
		return fmt.Errorf("more than %d links into other layers: %w", maxForeign, ErrTooBig)
	}
	a.links = append(a.links, Link{Name: name, Target: target})
	return nil
}

// node makes a fifo or device node. Without privilege devices are left out.
func (a *applier) node(pfd int, base string, hdr *tar.Header) error {
	mode := uint32(hdr.Mode & 0o7777)
	dev := 0
	switch hdr.Typeflag {
	case tar.TypeFifo:
		mode |= unix.S_IFIFO
	case tar.TypeChar:
		mode |= unix.S_IFCHR
	case tar.TypeBlock:
		mode |= unix.S_IFBLK
	}
	if hdr.Typeflag != tar.TypeFifo {
		if a.rootless {
			return nil
		}
		if hdr.Devmajor < 0 || hdr.Devmajor > 0xfff || hdr.Devminor < 0 || hdr.Devminor > 0xfffff {
			return fmt.Errorf("device %d:%d: %w", hdr.Devmajor, hdr.Devminor, ErrUnsafe)
		}
		dev = int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor)))
	}
	if err := a.create(pfd, base, func() error { return unix.Mknodat(pfd, base, mode, dev) }); err != nil {
		return err
	}
	return a.attrs(pfd, base, hdr)
}

// create runs make, which must fail with EEXIST where the name is taken. Then
// whatever is there gives way: the later entry wins.
func (a *applier) create(pfd int, base string, make func() error) error {
	err := make()
	if err == nil || !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := a.remove(pfd, base); err != nil {
		return err
	}
	return make()
}

// remove deletes what an earlier entry made. Directories kept open for later
// entries are looked up again: a path may have led through the name.
func (a *applier) remove(pfd int, base string) error {
	err := unix.Unlinkat(pfd, base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%s", pfd, base))
	}
	if err != nil {
		return err
	}
	a.fds.stale = true
	return nil
}

func same(pfd int, base string, st *unix.Stat_t) bool {
	var have unix.Stat_t
	return unix.Fstatat(pfd, base, &have, unix.AT_SYMLINK_NOFOLLOW) == nil && have.Ino == st.Ino && have.Dev == st.Dev
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range hdr.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func writeAll(fd int, r io.Reader, buf []byte) error {
	for {
		n, err := r.Read(buf)
		if werr := write(fd, buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
}

func write(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		p = p[n:]
	}
	return nil
}

// writeSparse leaves blocks of zeros as holes.
func writeSparse(fd int, r io.Reader, size int64, buf []byte) error {
	const block = 4096
	var off int64
	for {
		n, err := io.ReadFull(r, buf)
		for p := buf[:n]; len(p) > 0; {
			b := p[:min(block, len(p))]
			if !allZero(b) {
				if _, werr := unix.Pwrite(fd, b, off); werr != nil {
					return fmt.Errorf("write: %w", werr)
				}
			}
			off += int64(len(b))
			p = p[len(b):]
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
	if off != size {
		return fmt.Errorf("read archive: %w", io.ErrUnexpectedEOF)
	}
	return unix.Ftruncate(fd, size)
}

func allZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

package image

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// archive is an image archive whose members can be opened in any order.
type archive struct {
	members map[string]member
	root    *os.Root // of a directory
	close   func()
}

type member struct {
	size int64
	link string // target of a symbolic or hard link, "" for a file
	open func() (io.ReadCloser, error)
}

// maxMembers bounds what an archive may make us remember.
const maxMembers = 1 << 20

// openArchive opens a tar file, a compressed one, or a directory.
func (s *Store) openArchive(ctx context.Context, name string) (*archive, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return &archive{root: root, close: func() { root.Close() }}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 6)
	n, err := f.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		f.Close() // a pipe: read it as a stream
	} else if r, _, derr := decompressor(strings.NewReader(string(magic[:n]))); derr == nil {
		if _, plain := r.(*bufio.Reader); plain && fi.Mode().IsRegular() {
			a, err := indexTar(f)
			if err != nil {
				f.Close()
			}
			return a, err
		}
		f.Close()
	} else {
		f.Close()
	}
	f, err = os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.spool(ctx, f)
}

// indexTar notes where in an uncompressed tar file the members are.
func indexTar(f *os.File) (*archive, error) {
	a := &archive{members: make(map[string]member), close: func() { f.Close() }}
	err := eachMember(f, func(hdr *tar.Header, _ io.Reader) (func() (io.ReadCloser, error), error) {
		off, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		return func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(f, off, hdr.Size)), nil
		}, nil
	}, a)
	return a, err
}

// spool reads an archive that comes as a stream, compressed or not, into tmp/:
// what says what its members are often comes last.
func (s *Store) spool(ctx context.Context, r io.Reader) (*archive, error) {
	zr, done, err := decompressor(r)
	if err != nil {
		return nil, err
	}
	defer done()
	dir, err := s.tempDir("load")
	if err != nil {
		return nil, s.diskError(err)
	}
	a := &archive{members: make(map[string]member), close: func() { s.discard(dir) }}
	n := 0
	err = eachMember(zr, func(hdr *tar.Header, body io.Reader) (func() (io.ReadCloser, error), error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n++
		name := dir.Name() + "/" + strconv.Itoa(n)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(f, body)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return func() (io.ReadCloser, error) { return os.Open(name) }, err
	}, a)
	if err != nil {
		a.close()
		return nil, s.diskError(err)
	}
	return a, nil
}

// eachMember fills a with the files and links of a tar stream.
func eachMember(r io.Reader, file func(*tar.Header, io.Reader) (func() (io.ReadCloser, error), error), a *archive) error {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if err == io.EOF && n == 0 {
			return fmt.Errorf("empty archive: %w", ErrUnsupported)
		}
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) && n == 0 {
			return fmt.Errorf("not a tar archive: %w", ErrUnsupported)
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if n >= maxMembers {
			return fmt.Errorf("archive of more than %d members: %w", maxMembers, ErrUnsupported)
		}
		name := memberName(hdr.Name)
		switch hdr.Typeflag {
		case tar.TypeReg:
			open, err := file(hdr, tr)
			if err != nil {
				return err
			}
			a.members[name] = member{size: hdr.Size, open: open}
		case tar.TypeSymlink:
			a.members[name] = member{link: memberName(path.Join(path.Dir(name), hdr.Linkname))}
		case tar.TypeLink:
			a.members[name] = member{link: memberName(hdr.Linkname)}
		}
	}
}

func memberName(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// open opens a member, through links.
func (a *archive) open(name string) (io.ReadCloser, int64, error) {
	if a.root != nil {
		f, err := a.root.Open(memberName(name))
		if err != nil {
			return nil, 0, err
		}
		fi, err := f.Stat()
		if err == nil && !fi.Mode().IsRegular() {
			err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a file")}
		}
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, fi.Size(), nil
	}
	name = memberName(name)
	for range 8 {
		m, ok := a.members[name]
		if !ok {
			break
		}
		if m.link == "" {
			r, err := m.open()
			return r, m.size, err
		}
		name = m.link
	}
	return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (a *archive) has(name string) bool {
	r, _, err := a.open(name)
	if err != nil {
		return false
	}
	r.Close()
	return true
}

// read reads a small member.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	r, size, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes where at most %d make sense", name, size, limit)
	}
	return io.ReadAll(io.LimitReader(r, limit))
}

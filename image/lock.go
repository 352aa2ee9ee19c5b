package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Locks are flock(2), which the kernel releases with the process: on the file
// "lock" for index.json and garbage collection, on a part or blob for the one
// who fetches or unpacks it, on a lease or directory in tmp/ for its owner.
// Order: a part or blob, then "lock". "lock" is held for moments only.

const lockPoll = 20 * time.Millisecond

// flockWait takes a lock, polling so that ctx can end the wait. onWait is
// called once when there is something to wait for.
func flockWait(ctx context.Context, f *os.File, how int, onWait func()) error {
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
		if first && onWait != nil {
			onWait()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

func (s *Store) lock(how int) (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return func() { f.Close() }, nil
}

// tryExclusive fails rather than waits.
func (s *Store) tryExclusive() (unlock func(), err error) { return s.lock(unix.LOCK_EX | unix.LOCK_NB) }

func (s *Store) lockExclusive() (unlock func(), err error) { return s.lock(unix.LOCK_EX) }

// A lease keeps blobs and layers from the garbage collector while an operation
// works towards naming them in index.json. What is added before it is looked
// for either is found and stays, or is missing and will be fetched: add waits
// for a collection that is under way.
type lease struct {
	s *Store
	f *os.File
}

func (s *Store) newLease() (*lease, error) {
	f, err := s.tempFile("lease")
	if err != nil {
		return nil, err
	}
	return &lease{s: s, f: f}, nil
}

func (l *lease) add(digests ...digest.Digest) error {
	unlock, err := l.s.lock(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	var b strings.Builder
	for _, d := range digests {
		b.WriteString(d.Encoded())
		b.WriteByte('\n')
	}
	_, err = l.f.WriteString(b.String())
	return err
}

func (l *lease) release() {
	os.Remove(l.f.Name())
	l.f.Close()
}

// tempFile makes a file in tmp/ and locks it, so that it is no leftover.
func (s *Store) tempFile(kind string) (*os.File, error) {
	return lockedTemp(func() (*os.File, error) { return os.CreateTemp(s.path("tmp"), kind+"-*") })
}

// tempDir makes a directory in tmp/ and locks it.
func (s *Store) tempDir(kind string) (*os.File, error) {
	return lockedTemp(func() (*os.File, error) {
		name, err := os.MkdirTemp(s.path("tmp"), kind+"-*")
		if err != nil {
			return nil, err
		}
		return os.Open(name)
	})
}

// lockedTemp repeats where a sweeper was faster than our lock.
func lockedTemp(make func() (*os.File, error)) (*os.File, error) {
	for {
		f, err := make()
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(filepath.Dir(errPath(err))); err == nil {
				continue // swept between mkdir and open
			}
		}
		if err != nil {
			return nil, err
		}
		err = flockWait(context.Background(), f, unix.LOCK_EX, nil)
		if err != nil {
			f.Close()
			return nil, err
		}
		if isAt(f, f.Name()) {
			return f, nil
		}
		f.Close()
	}
}

func errPath(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Path
	}
	return ""
}

// dead reports whether nobody holds the lock on a leftover in tmp/.
func dead(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// isNoSpace tells a full disk from other failures to write.
func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// diskError says what to do about a full disk.
func (s *Store) diskError(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w in the file system of %s", err, s.root)
	}
	return err
}

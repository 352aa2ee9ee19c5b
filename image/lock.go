package image

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	unlock, err := s.lock(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, err := os.CreateTemp(s.path("tmp"), "lease-*")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
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

// tempDir makes a directory in tmp/ and locks it. The lock on the store keeps
// a sweeper from taking it for a leftover in between.
func (s *Store) tempDir(prefix string) (*os.File, error) {
	unlock, err := s.lock(unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer unlock()
	name, err := os.MkdirTemp(s.path("tmp"), prefix+"-*")
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		os.Remove(name)
		return nil, err
	}
	return f, nil
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
		return fmt.Errorf("%w: free some in the file system of %s", err, s.root)
	}
	return err
}

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Lock is a held flock(2) on a container's directory. The kernel releases it
// with its holder.
type Lock struct{ f *os.File }

// Close releases the lock.
func (l *Lock) Close() error { return l.f.Close() }

const (
	lockExclusive = syscall.LOCK_EX
	tryExclusive  = syscall.LOCK_EX | syscall.LOCK_NB
	tryShared     = syscall.LOCK_SH | syscall.LOCK_NB
)

// glimpse is longer than a sweep has a directory locked to see whether its
// maker lives: the container may have been committed at that moment.
const glimpse = 20 * time.Millisecond

// Hold takes the shared lock on container id that a living shim has. ErrInUse
// while a verb that changes the container has it for itself.
func (s *Store) Hold(id string) (*Lock, error) {
	for end := time.Now().Add(glimpse); ; time.Sleep(time.Millisecond) {
		l, err := s.lock(id, tryShared)
		if !errors.Is(err, ErrInUse) || time.Now().After(end) {
			return l, err
		}
	}
}

// Lock takes container id for a verb that changes or removes it. ErrInUse
// while a shim or another such verb holds it.
func (s *Store) Lock(id string) (*Lock, error) { return s.lock(id, tryExclusive) }

// Supervise makes the caller the one shim of container id. ErrInUse where
// another one lives: the container runs, perhaps by the other door.
func (s *Store) Supervise(id string) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(s.Dir(id), ShimLockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock container %s: %w", id, err)
	}
	if err := syscall.Flock(int(f.Fd()), tryExclusive); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("lock container %s: %w", id, err)
	}
	return &Lock{f}, nil
}

// HoldRun takes the shared lock on the directory of the current run, under
// which a client connects to the control socket. ErrNotExist where there is no
// run, ErrInUse where it is ending.
func (s *Store) HoldRun(id string) (*Lock, error) { return lock(s.RunDir(id), id, tryShared) }

// EndRun waits for the clients that are connecting and takes the run's
// directory for the shim alone: nobody connects any more. The shim answers who
// is in the queue and removes the directory.
func (s *Store) EndRun(id string) (*Lock, error) { return lock(s.RunDir(id), id, lockExclusive) }

func (s *Store) lock(id string, how int) (*Lock, error) { return lock(s.Dir(id), id, how) }

func lock(dir, id string, how int) (*Lock, error) {
	l, err := lockDir(dir, how)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, fmt.Errorf("lock container %s: %w", id, ErrInUse)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("lock container %s: %w", id, ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("lock container %s: %w", id, err)
	}
	return l, nil
}

// lockDir locks the directory that has the name dir once it is locked:
// fs.ErrNotExist where it was removed or renamed on the way to it.
func lockDir(dir string, how int) (*Lock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		err = stillAt(f, dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// stillAt returns fs.ErrNotExist unless f is what path names.
func stillAt(f *os.File, path string) error {
	have, err := f.Stat()
	if err != nil {
		return err
	}
	want, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(have, want) {
		return &fs.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
	}
	return nil
}

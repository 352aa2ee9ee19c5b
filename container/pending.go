package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Create makes a container: its directory is prepared and committed in one go.
// fill writes the other files into the directory it is given. ErrExists where
// the name is taken.
func (s *Store) Create(r *Record, fill func(dir string) error) error {
	p, err := s.Prepare(r, fill)
	if err != nil {
		return err
	}
	defer p.Close()
	return s.Commit(r.ID)
}

// Pending is a container that is complete on disk and not there yet for
// anybody. Whoever starts it commits it, by [Store.Commit]; if that never
// happens it vanishes with the Pending, or with its maker's life.
type Pending struct {
	s      *Store
	record *Record
	lock   *Lock
}

// Prepare makes the directory of r under a name that no reader looks at.
func (s *Store) Prepare(r *Record, fill func(dir string) error) (_ *Pending, err error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	tmp := s.pending(r.ID)
	lock, err := mkdirLocked(tmp)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", r.Name, err)
	}
	p := &Pending{s, r, lock}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := s.claimName(r.Name, r.ID); err != nil {
		return nil, err
	}
	if err := os.Symlink(s.RunDir(r.ID), filepath.Join(tmp, RunLink)); err != nil {
		return nil, fmt.Errorf("create container %s: %w", r.Name, err)
	}
	if fill != nil {
		if err := fill(tmp); err != nil {
			return nil, err
		}
	}
	// A container that goes away by itself is worth no wait for the disk.
	if err := writeJSON(filepath.Join(tmp, RecordFile), r, !r.AutoRemove); err != nil {
		return nil, err
	}
	return p, nil
}

// Close removes what Prepare made unless it was committed.
func (p *Pending) Close() error {
	defer p.lock.Close()
	id := p.record.ID
	gone := p.s.removed(id)
	err := os.Rename(p.s.pending(id), gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // committed
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", p.record.Name, err)
	}
	p.s.dropName(p.record.Name, id)
	return os.RemoveAll(gone)
}

// Commit makes a prepared container one that is there, by one rename. A
// container that is there already is no error; ErrNotExist where it was
// prepared by nobody, or its maker died and it was swept away.
func (s *Store) Commit(id string) error {
	err := os.Rename(s.pending(id), s.Dir(id))
	if errors.Is(err, fs.ErrNotExist) {
		if exists(s.Dir(id)) {
			return nil
		}
		err = ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("commit container %s: %w", id, err)
	}
	return nil
}

// discard removes a container that is being made if its maker is dead, and
// says whether the maker lives.
func (s *Store) discard(id string) (alive bool, err error) {
	lock, err := lockDir(s.pending(id), tryExclusive)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("sweep container %s: %w", id, err)
	}
	defer lock.Close()
	gone := s.removed(id)
	if err = os.Rename(s.pending(id), gone); err == nil {
		err = os.RemoveAll(gone)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a shim may have committed it meanwhile
		return false, fmt.Errorf("sweep container %s: %w", id, err)
	}
	return false, nil
}

// mkdirLocked makes dir and holds it. Shared, as a shim does: the one that
// commits this container must not find it taken. Before it is held a sweep may
// take it for a dead maker's: then it is made again.
func mkdirLocked(dir string) (*Lock, error) {
	for {
		if err := mkdirIn(dir); err != nil {
			return nil, err
		}
		lock, err := lockDir(dir, syscall.LOCK_SH)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
}

// mkdirIn makes dir, and its parents where they are missing, for root alone.
func mkdirIn(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o711); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	return err
}

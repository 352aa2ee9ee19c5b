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
	err = s.Commit(r.ID)
	return errors.Join(err, p.Close())
}

// Pending is a container that is complete on disk and not there yet for
// anybody. Whoever starts it commits it, by [Store.Commit]; if that never
// happens it vanishes with the Pending, or with its maker's life.
type Pending struct {
	s      *Store
	record *Record
	lock   *Lock
	closed bool
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
	p := &Pending{s: s, record: r, lock: lock}
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
	if err := writeJSON(filepath.Join(tmp, RecordFile), r, false); err != nil {
		return nil, err
	}
	if r.AutoRemove { // one that goes by itself is worth no wait for the disk
		return p, nil
	}
	// What is committed is whole, also after a power cut.
	if err := fsyncDir(tmp); err != nil {
		return nil, fmt.Errorf("create container %s: %w", r.Name, err)
	}
	return p, nil
}

// Close removes what Prepare made unless it was committed. Then it has the disk
// keep that: what is there when Close returns survives a power cut, except with
// AutoRemove.
func (p *Pending) Close() error {
	defer p.lock.Close()
	id := p.record.ID
	gone := p.s.removed(id)
	err := os.Rename(p.s.pending(id), gone)
	if errors.Is(err, fs.ErrNotExist) { // committed, and closed already where it does not exist either
		if p.record.AutoRemove || p.closed {
			return nil
		}
		p.closed = true
		if err := fsyncAll(p.s.containers(), p.s.names()); err != nil {
			return fmt.Errorf("create container %s: %w", p.record.Name, err)
		}
		return nil
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

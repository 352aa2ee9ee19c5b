package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A name is a symbolic link to its container. Made without a lock, by
// symlink(2), which one of many wins. Taken away only under the lock on the
// directory of names: between the look at a link and its removal it must not
// become somebody else's.

// claimName makes the name's link. ErrExists where a container has it, or one
// that is being made.
func (s *Store) claimName(name, id string) error {
	err := s.linkName(name, id)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := s.lockNames()
	if err != nil {
		return err
	}
	defer lock.Close()
	return s.takeName(name, id)
}

// takeName is claimName for a name that may be a dead creator's.
//
// Preconditions: the names are locked.
func (s *Store) takeName(name, id string) error {
	free, err := s.freeName(name)
	if err != nil {
		return err
	}
	if free {
		err = s.linkName(name, id)
	}
	if !free || errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("name container %q: %w: choose another one, or remove that container first", name, ErrExists)
	}
	return err
}

func (s *Store) linkName(name, id string) error {
	link, target := s.link(name), filepath.Join("..", "containers", id)
	err := os.Symlink(target, link)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.names(), 0o711); err == nil {
			err = os.Symlink(target, link)
		}
	}
	if err != nil {
		return fmt.Errorf("name container %s: %w", name, err)
	}
	return nil
}

func (s *Store) link(name string) string { return filepath.Join(s.names(), name) }

func (s *Store) lockNames() (*Lock, error) {
	l, err := lockDir(s.names(), lockExclusive)
	if err != nil {
		return nil, fmt.Errorf("lock names: %w", err)
	}
	return l, nil
}

// freeName removes the link of name if no container is behind it, and says
// whether the name is free.
//
// Preconditions: the names are locked.
func (s *Store) freeName(name string) (bool, error) {
	id, err := s.nameID(name)
	if errors.Is(err, ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("name container %s: %w", name, err)
	}
	// The unfinished directory first: what is committed between the two looks
	// is seen by the second.
	alive, err := s.discard(id)
	if err != nil || alive || exists(s.Dir(id)) {
		return false, err
	}
	return true, s.unlinkName(name, id)
}

// dropName removes the link of name where it leads to id.
func (s *Store) dropName(name, id string) {
	lock, err := s.lockNames()
	if err != nil {
		return // Sweep will
	}
	defer lock.Close()
	_ = s.unlinkName(name, id)
}

// unlinkName is dropName.
//
// Preconditions: the names are locked.
func (s *Store) unlinkName(name, id string) error {
	if got, err := s.nameID(name); err != nil || got != id {
		return nil
	}
	if err := os.Remove(s.link(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("free name %s: %w", name, err)
	}
	return nil
}

// nameID returns the ID behind a name; ErrNotExist where there is no such name.
func (s *Store) nameID(name string) (string, error) {
	target, err := os.Readlink(s.link(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotExist
	}
	if err != nil {
		return "", err
	}
	id := filepath.Base(target)
	if !isID(id) {
		return "", fmt.Errorf("%s leads to %s, which is no container", s.link(name), target)
	}
	return id, nil
}

// Rename gives r another name. ErrExists where that is taken.
func (s *Store) Rename(r *Record, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	lock, err := s.lockNames()
	if err != nil {
		return err
	}
	defer lock.Close()
	now, err := s.LoadID(r.ID) // somebody may have renamed it since r was read
	if err != nil {
		return err
	}
	old := now.Name
	if name == old {
		r.Name = name
		return nil
	}
	if id, err := s.nameID(name); err != nil || id != r.ID { // a killed rename's claim is as good as a new one
		if err := s.takeName(name, r.ID); err != nil {
			return err
		}
	}
	now.Name = name
	err = fsync(s.names()) // no record with a name that leads nowhere
	if err == nil {
		err = s.Update(now)
	}
	if err != nil {
		return errors.Join(err, s.unlinkName(name, r.ID))
	}
	r.Name = name
	return s.unlinkName(old, r.ID)
}

// sweepNames removes the links that lead to no container, and the second link
// to one that a killed rename left.
func (s *Store) sweepNames() error {
	links, err := os.ReadDir(s.names())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep names: %w", err)
	}
	count := map[string]int{}
	for _, l := range links {
		if id, err := s.nameID(l.Name()); err == nil {
			count[id]++
		}
	}
	var errs []error
	for _, l := range links {
		id, err := s.nameID(l.Name())
		if err == nil && (count[id] > 1 || !exists(s.Dir(id))) {
			errs = append(errs, s.sweepName(l.Name()))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) sweepName(name string) error {
	lock, err := s.lockNames()
	if err != nil {
		return err
	}
	defer lock.Close()
	if free, err := s.freeName(name); free || err != nil {
		return err
	}
	id, err := s.nameID(name)
	if err != nil {
		return nil // not ours to judge
	}
	if r, err := s.LoadID(id); err == nil && r.Name != name {
		return s.unlinkName(name, id)
	}
	return nil
}

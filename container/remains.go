package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Remains returns what is known without its record of a container that
// [Store.Load] says is damaged: its ID and its name, enough to remove it. Where
// other files of it cannot be read, they are gone after that.
func (s *Store) Remains(nameOrID string) (*Record, error) {
	id, err := s.find(nameOrID)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", nameOrID, err)
	}
	r, err := s.LoadID(id)
	if errors.Is(err, ErrDamaged) {
		r = &Record{Version: RecordVersion, ID: id}
		r.Name, err = s.nameOf(id)
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.Started(id); errors.Is(err, ErrDamaged) {
		_ = os.Remove(filepath.Join(s.RunDir(id), StartedFile)) // an error comes again when it is read
	}
	if _, err := s.Exit(id); errors.Is(err, ErrDamaged) {
		_ = os.Remove(filepath.Join(s.Dir(id), ExitFile))
	}
	return r, nil
}

// nameOf looks through the names for one of container id, and gives it its ID
// for a name where there is none.
func (s *Store) nameOf(id string) (string, error) {
	links, err := os.ReadDir(s.names())
	if err != nil {
		return "", fmt.Errorf("list names: %w", err)
	}
	for _, l := range links {
		if got, err := s.nameID(l.Name()); err == nil && got == id && CheckName(l.Name()) == nil {
			return l.Name(), nil
		}
	}
	return id, nil
}

// Damaged returns the IDs of the containers that List leaves out or whose runs
// nothing can be said of, because a file of theirs cannot be read.
func (s *Store) Damaged() ([]string, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	var damaged []string
	for _, id := range ids {
		_, err := s.LoadID(id)
		_, runErr := s.Started(id)
		_, endErr := s.Exit(id)
		if errors.Is(errors.Join(err, runErr, endErr), ErrDamaged) {
			damaged = append(damaged, id)
		}
	}
	return damaged, nil
}

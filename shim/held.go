package shim

import (
	"errors"
	"os"

	"github.com/berthrun/berth/unit/notify"
)

// openHolder adds what an earlier process of this unit held to what systemd
// handed over.
func openHolder(in *notify.Inherited) (*notify.Holder, error) {
	var held *notify.Holder
	for _, f := range in.Named(fdHolder) {
		if held != nil {
			held.Close()
		}
		h, files, err := notify.Held(f)
		if err != nil {
			return nil, err
		}
		held = h
		in.Files = append(in.Files, files...)
	}
	return held, nil
}

// keep holds descriptors for the next process of this unit.
func (s *shim) keep(name string, files ...*os.File) error {
	if s.held == nil {
		h, err := s.sd.Hold(fdHolder)
		if errors.Is(err, notify.ErrNoManager) {
			return nil
		}
		if err != nil {
			return err
		}
		s.held = h
	}
	return s.held.Keep(name, files...)
}

// letGo holds nothing any more.
func (s *shim) letGo() {
	if s.held == nil {
		return
	}
	_ = s.sd.Remove(fdHolder)
	s.held.Close()
	s.held = nil
}

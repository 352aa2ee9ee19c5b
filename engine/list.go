package engine

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/berthrun/berth/container"
)

// Summary is one container as ps shows it.
type Summary struct {
	Record  *container.Record
	State   container.State
	Unit    string             // it runs in, or ran in last
	Started *container.Started // nil unless it runs
	Exit    *container.Exit    // of the last run; nil where none has ended
}

// List returns every container, oldest first. Where a record cannot be read
// the others come all the same, with an error that says which one it is.
func List(ctx context.Context, h *Host) ([]Summary, error) {
	// What killed clients left costs nothing to look for here.
	swept := h.Containers.Sweep()
	records, damaged := h.Containers.List()
	if !errors.Is(damaged, fs.ErrPermission) { // both say the same otherwise
		damaged = errors.Join(damaged, swept)
	}
	if len(records) == 0 {
		return nil, damaged
	}
	conn, err := h.Units(ctx)
	if err != nil {
		return nil, err
	}
	units, err := loadedUnits(ctx, conn, unitPatterns...)
	h.Close() // who follows logs or waits for an end does so without systemd
	if err != nil {
		return nil, err
	}
	list := make([]Summary, 0, len(records))
	for _, r := range records {
		s, err := summary(h, r, units)
		if err != nil {
			damaged = errors.Join(damaged, err)
			continue
		}
		list = append(list, *s)
	}
	return list, damaged
}

func summary(h *Host, r *container.Record, units map[string]container.UnitState) (*Summary, error) {
	started, err := h.Containers.Started(r.ID)
	if err != nil {
		return nil, err
	}
	p, err := locate(h, r, units, started)
	if err != nil {
		return nil, err
	}
	return p.summary(r), nil
}

func (p *place) summary(r *container.Record) *Summary {
	s := &Summary{Record: r, State: p.state(), Unit: p.unit, Exit: p.exit}
	switch s.State {
	case container.Running, container.Paused, container.Stopping:
		s.Started = p.started
	}
	return s
}

// Find returns the containers that names name, in that order; or all; or the
// one created last; each only if it matches every filter. It is what verbs
// that take several containers work on.
func Find(ctx context.Context, h *Host, names []string, all, latest bool, filters []string) ([]Summary, error) {
	match, err := ParseFilters(h, filters)
	if err != nil {
		return nil, err
	}
	if !all && !latest && len(filters) == 0 {
		return findNamed(ctx, h, names)
	}
	list, err := List(ctx, h)
	if err != nil && len(list) == 0 {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s Summary) bool { return !match.Match(&s) })
	if latest && len(list) > 0 {
		list = list[len(list)-1:]
	}
	return list, nil
}

func findNamed(ctx context.Context, h *Host, names []string) ([]Summary, error) {
	var list []Summary
	var errs []error
	for _, name := range names {
		r, err := h.Containers.Load(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p, err := where(ctx, h, r)
		if err != nil {
			return nil, err
		}
		list = append(list, *p.summary(r))
	}
	return list, errors.Join(errs...)
}

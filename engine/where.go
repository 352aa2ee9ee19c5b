package engine

import (
	"context"
	"strings"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/unit"
)

// place is where a container is at one moment: one row of ps.
type place struct {
	unit    string // the unit it runs in, or ran in last
	status  container.UnitState
	started *container.Started
	exit    *container.Exit
}

func (p *place) state() container.State { return container.StateOf(p.status, p.started, p.exit) }

// running says whether processes of the container may be there.
func (p *place) running() bool {
	switch p.state() {
	case container.Running, container.Paused, container.Stopping, container.Restarting:
		return true
	}
	return p.status.Active == "activating" || p.status.Active == "deactivating"
}

// ending says that the shim has noted an end, or on a full disk could not and
// has removed the note of the start, and systemd has still to do with the unit:
// it may be over then, or be started again.
func (p *place) ending() bool {
	return p.running() && (p.state() == container.Exited || p.state() == container.Created && p.status.Active != "activating")
}

// unitPatterns match every unit of a container, of either door.
var unitPatterns = []string{"berth-*.service", "container@*.service"}

// loadedUnits are the container units that systemd knows, by name.
func loadedUnits(ctx context.Context, conn *unit.Conn, patterns ...string) (map[string]container.UnitState, error) {
	list, err := conn.List(ctx, patterns...)
	if err != nil {
		return nil, err
	}
	units := make(map[string]container.UnitState, len(list))
	for _, u := range list {
		if !strings.HasSuffix(u.Name, ".service") || u.LoadState == "not-found" {
			continue
		}
		units[u.Name] = container.UnitState{Active: u.ActiveState, Sub: u.SubState}
	}
	return units, nil
}

// where finds out where one container is.
func where(ctx context.Context, h *Host, r *container.Record) (*place, error) {
	conn, err := h.Units(ctx)
	if err != nil {
		return nil, err
	}
	started, err := h.Containers.Started(r.ID)
	if err != nil {
		return nil, err
	}
	names := []string{UnitName(r.Name), TemplateName(r.Name)}
	if started != nil {
		names = append(names, started.Unit) // it may have been renamed since
	}
	units, err := loadedUnits(ctx, conn, names...)
	if err != nil {
		return nil, err
	}
	return locate(h, r, units, started)
}

// locate picks the container's unit among those loaded.
func locate(h *Host, r *container.Record, units map[string]container.UnitState, started *container.Started) (*place, error) {
	p := &place{unit: UnitName(r.Name), started: started}
	candidates := []string{UnitName(r.Name), TemplateName(r.Name)}
	if started != nil {
		candidates = append([]string{started.Unit}, candidates...)
	}
	for _, name := range candidates {
		if st, ok := units[name]; ok && st.Active != "inactive" && st.Active != "failed" {
			p.unit, p.status = name, st
			break
		}
	}
	var err error
	p.exit, err = h.Containers.Exit(r.ID)
	return p, err
}

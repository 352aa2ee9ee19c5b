package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/berthrun/berth/container"
)

// Down is the engine's work after a run, for when nobody else is there to do
// it: what a killed shim left is ended, unless a restart follows and the next
// shim takes it over.
func Down(ctx context.Context, h *Host, name string) error {
	r, err := h.Containers.Load(name)
	if errors.Is(err, container.ErrNotExist) {
		return nil // --rm
	}
	if err != nil {
		return err
	}
	follows, err := restartFollows(ctx, h, r)
	if err != nil || follows {
		return err
	}
	return sweep(h, r)
}

// restartFollows says whether systemd is about to start the unit again. In
// ExecStopPost= the unit is still deactivating: only a stop that somebody asked
// for has a job, and $SERVICE_RESULT tells the rest.
func restartFollows(ctx context.Context, h *Host, r *container.Record) (bool, error) {
	p, err := where(ctx, h, r)
	if err != nil {
		return false, err
	}
	if p.status.Active == "" {
		return false, nil
	}
	conn, err := h.Units(ctx)
	if err != nil {
		return false, err
	}
	st, err := conn.Status(ctx, p.unit)
	if err != nil {
		return false, err
	}
	return st.Job == 0 || st.JobType != "stop", nil
}

// ErrElsewhere: the container runs in another unit than the one to be started.
var ErrElsewhere = errors.New("runs already")

// Condition is ExecCondition= of container@.service: a container runs in one
// place at a time. The error says where it runs.
func Condition(ctx context.Context, h *Host, name string) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	p, err := where(ctx, h, r)
	if err != nil {
		return err
	}
	if strings.HasPrefix(p.unit, "berth-") && p.status.Active != "" {
		return fmt.Errorf("container %s %w, as %s", r.Name, ErrElsewhere, p.unit)
	}
	return nil
}

// WriteDropIns writes the settings of every container below dir, for the boot:
// a unit directory below /run does not outlive one.
func WriteDropIns(h *Host, dir string) error {
	records, err := h.Containers.List()
	for _, r := range records {
		if !r.AutoRemove {
			err = errors.Join(err, WriteDropIn(dir, r))
		}
	}
	return err
}

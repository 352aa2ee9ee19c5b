package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/shim/wire"
)

// Wait returns how the run of a container ends: at once if it does not run.
// condition is "stopped" or "exited" (the default), or "running".
func Wait(ctx context.Context, h *Host, name, condition string) (*container.Exit, error) {
	r, err := h.Containers.Load(name)
	if err != nil {
		return nil, err
	}
	switch condition {
	case "", "stopped", "exited", "not-running":
		return waitExit(ctx, h, r)
	case "running":
		return nil, waitRunning(ctx, h, r)
	}
	return nil, fmt.Errorf("wait for container %s: condition %q: must be stopped, exited or running", r.Name, condition)
}

// waitExit asks the shim, which knows first and knows it even of a container
// that removes itself. A shim that is killed meanwhile is asked again.
func waitExit(ctx context.Context, h *Host, r *container.Record) (*container.Exit, error) {
	for {
		c, _, err := dial(ctx, h, r)
		if errors.Is(err, ErrNotRunning) {
			return lastExit(h, r, err)
		}
		if err != nil {
			return nil, err
		}
		e, err := c.Wait(ctx)
		c.Close()
		switch {
		case err == nil:
			return exitOf(e), nil
		case !errors.Is(err, wire.ErrGone):
			return nil, fmt.Errorf("wait for container %s: %w", r.Name, err)
		}
	}
}

// waitRunning watches the container's unit.
func waitRunning(ctx context.Context, h *Host, r *container.Record) error {
	conn, err := h.Units(ctx)
	if err != nil {
		return err
	}
	w, err := conn.Watch(ctx, UnitName(r.Name), TemplateName(r.Name))
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		p, err := where(ctx, h, r)
		if err != nil {
			return err
		}
		if p.state() == container.Running {
			return nil
		}
		if _, err := w.Next(ctx); err != nil {
			return err
		}
	}
}

// notRunning gives a peer that is gone the name that users know.
func notRunning(err error) error {
	if errors.Is(err, wire.ErrGone) || errors.Is(err, &wire.Error{Name: wire.ErrorNotRunning}) {
		return ErrNotRunning
	}
	return err
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/shim"
	"github.com/berthrun/berth/unit"
)

// Stop ends a container: its stop signal, then SIGKILL when timeout (nil: the
// container's own) is over. One that does not run is stopped already.
func Stop(ctx context.Context, h *Host, name string, timeout *time.Duration) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	return stop(ctx, h, r, timeout)
}

func stop(ctx context.Context, h *Host, r *container.Record, timeout *time.Duration) error {
	p, err := where(ctx, h, r)
	if err != nil {
		return err
	}
	if p.status.Active == "" {
		return sweep(h, r)
	}
	if timeout != nil {
		// Without a directory of the run there is no shim yet to wait for.
		if err := h.Containers.SetStopTimeout(r.ID, *timeout); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	conn, err := h.Units(ctx)
	if err != nil {
		return err
	}
	job, err := conn.Stop(ctx, p.unit)
	if errors.Is(err, unit.ErrNotExist) {
		return sweep(h, r)
	}
	if err != nil {
		return err
	}
	if err := job.Wait(ctx); err != nil {
		return fmt.Errorf("stop container %s: %w", r.Name, err)
	}
	if err := sweep(h, r); err != nil {
		return err
	}
	return awaitGone(ctx, h, r, p.unit)
}

// goneTime bounds the wait for systemd to forget the units of a run.
const goneTime = 3 * time.Second

// awaitGone waits until services of a container and what goes after them are
// forgotten. Units that stay loaded because somebody refers to them are no
// failure.
func awaitGone(ctx context.Context, h *Host, r *container.Record, services ...string) error {
	conn, err := h.Units(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range services {
		names = append(names, s, socketName(s))
	}
	names = append(names, sweepName(r.Name))
	ctx, cancel := context.WithTimeout(ctx, goneTime)
	defer cancel()
	_ = conn.WaitGone(ctx, names...)
	return nil
}

// sweep ends what a run left whose shim was killed and never came back.
func sweep(h *Host, r *container.Record) error {
	_, err := shim.Sweep(h.Containers, r, "")
	if errors.Is(err, container.ErrInUse) || errors.Is(err, container.ErrNotExist) {
		return nil // a shim lives, or has removed the container
	}
	return err
}

// Restart stops a container if it runs, and starts it, by the door it ran by.
func Restart(ctx context.Context, h *Host, name string, timeout *time.Duration) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	p, err := where(ctx, h, r)
	if err != nil {
		return err
	}
	if err := stop(ctx, h, r, timeout); err != nil {
		return err
	}
	if p.unit == TemplateName(r.Name) && p.status.Active != "" {
		return startTemplate(ctx, h, r)
	}
	_, err = Start(ctx, h, r.ID, nil)
	return err
}

func startTemplate(ctx context.Context, h *Host, r *container.Record) error {
	conn, err := h.Units(ctx)
	if err != nil {
		return err
	}
	job, err := conn.Start(ctx, TemplateName(r.Name))
	if err != nil {
		return err
	}
	if err := job.Wait(ctx); err != nil {
		return startFailure(ctx, h, r, nil, err)
	}
	return nil
}

// Kill sends a signal to a running container's first process.
func Kill(ctx context.Context, h *Host, name string, sig syscall.Signal) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	c, _, err := dial(ctx, h, r)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Kill(ctx, int(sig)); err != nil {
		return fmt.Errorf("kill container %s: %w", r.Name, notRunning(err))
	}
	return nil
}

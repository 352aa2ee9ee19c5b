package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/unit"
)

// Run creates a container and starts it. Until systemd has been asked to start
// the unit nothing is committed: killed before that, Run leaves nothing;
// killed after it, a running container.
//
// With a, the session is attached before the container's first instruction.
func Run(ctx context.Context, h *Host, spec container.Spec, o *CreateOptions, a *AttachOptions) (*container.Record, *Session, error) {
	dialled := make(chan struct{})
	go func() {
		defer close(dialled)
		_, _ = h.Units(ctx) // systemd gets ready for us meanwhile; start tells what went wrong
	}()
	defer func() { <-dialled }()
	r, p, err := prepare(ctx, h, spec, o)
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	if !r.AutoRemove { // one that goes when it ends has no second start, by whatever door
		if err := writeDropIn(h, r); err != nil {
			return nil, nil, err
		}
	}
	s, err := start(ctx, h, r, a)
	if err != nil {
		// The shim may have committed the record before it failed.
		p.Close()
		if r.AutoRemove {
			_, rmErr := Remove(context.WithoutCancel(ctx), h, r.ID, RemoveOptions{Force: true})
			if rmErr != nil && !errors.Is(rmErr, container.ErrNotExist) {
				err = errors.Join(err, rmErr)
			}
		}
		return r, nil, err
	}
	return r, s, nil
}

// Start starts a container that is not running. The session is nil unless a
// is given.
func Start(ctx context.Context, h *Host, name string, a *AttachOptions) (*Session, error) {
	r, err := h.Containers.Load(name)
	if err != nil {
		return nil, err
	}
	return start(ctx, h, r, a)
}

// start leaves no connection to systemd behind: each open one is sent every
// signal of every unit, and with fifty of them each start takes forty
// milliseconds more.
func start(ctx context.Context, h *Host, r *container.Record, a *AttachOptions) (*Session, error) {
	conn, err := h.Units(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.mark(r, a); err != nil {
		return nil, err
	}
	job, err := startUnit(ctx, h, conn, r)
	if err != nil {
		h.unmark(r)
		return nil, err
	}
	var s *Session
	if a != nil {
		if s, err = attachStarting(ctx, h, r, a, job); err != nil {
			return nil, err
		}
	}
	if err := job.Wait(ctx); err != nil {
		return nil, startFailure(ctx, h, r, s, err)
	}
	return s, nil
}

// mark makes the directory of the run and leaves word there that a client
// will attach before the container may begin.
func (h *Host) mark(r *container.Record, a *AttachOptions) error {
	if a == nil {
		return nil
	}
	dir := h.Containers.RunDir(r.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("start container %s: %w", r.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, container.AttachFile), nil, 0o600); err != nil {
		return fmt.Errorf("start container %s: %w", r.Name, err)
	}
	return nil
}

// unmark takes mark back where no unit was started. Of a run that goes on it
// removes nothing but the word.
func (h *Host) unmark(r *container.Record) {
	dir := h.Containers.RunDir(r.ID)
	_ = os.Remove(filepath.Join(dir, container.AttachFile))
	_ = os.Remove(dir)
}

// nameWait bounds how long a start waits for the last run's unit to be
// forgotten by systemd.
const nameWait = 10 * time.Second

// startUnit asks systemd to start the container's transient unit. The unit of
// the run before may not be gone yet: that is waited for.
func startUnit(ctx context.Context, h *Host, conn *unit.Conn, r *container.Record) (*unit.Job, error) {
	version, err := conn.Version(ctx)
	if err != nil {
		return nil, err
	}
	spec := transient(h, r, version)
	for tries := 0; ; tries++ {
		job, err := conn.StartTransient(ctx, spec)
		if !errors.Is(err, unit.ErrExists) || tries == 3 {
			return job, err
		}
		st, err := conn.Status(ctx, spec.Name)
		if err != nil {
			return nil, err
		}
		if st.Active() {
			return nil, fmt.Errorf("start container %s: %w: it runs as %s", r.Name, container.ErrInUse, spec.Name)
		}
		wait, cancel := context.WithTimeout(ctx, nameWait)
		err = conn.WaitGone(wait, spec.Name, socketName(spec.Name))
		cancel()
		if err != nil {
			return nil, fmt.Errorf("start container %s: its last run has not ended: %w", r.Name, err)
		}
	}
}

// startFailure finds out why the unit's job failed: the shim told its client,
// if there was one, and left it in the exit record, if there still is one.
func startFailure(ctx context.Context, h *Host, r *container.Record, s *Session, jobErr error) error {
	exit, err := h.Containers.Exit(r.ID)
	if s != nil {
		defer s.Close()
		if told, werr := s.Wait(ctx); werr == nil {
			exit, err = told, nil
		}
	}
	if err == nil && exit != nil && exit.Error != "" {
		code := container.ExitBerth
		if exit.Code != nil {
			code = *exit.Code
		}
		return &StartError{Code: code, Name: r.Name, Err: fmt.Errorf("start container %s: %s", r.Name, exit.Error)}
	}
	var ue *unit.Error
	if errors.As(jobErr, &ue) && ue.Result == unit.JobFailed {
		return fmt.Errorf("start container %s: %w: see `journalctl -u %s`", r.Name, jobErr, UnitName(r.Name))
	}
	return fmt.Errorf("start container %s: %w", r.Name, jobErr)
}

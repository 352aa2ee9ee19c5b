package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/warm"
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
	// One that runs is started already, by whichever door.
	if started, err := h.Containers.Started(r.ID); err != nil {
		return nil, err
	} else if started != nil {
		p, err := where(ctx, h, r)
		if err != nil {
			return nil, err
		}
		if p.state() == container.Running {
			if a == nil {
				return nil, nil
			}
			return Attach(ctx, h, r.ID, *a)
		}
	}
	// Held, the container is not swept after its last run while this one begins.
	lock, err := retryInUse(ctx, func() (*container.Lock, error) { return h.Containers.Hold(r.ID) })
	if err != nil {
		return nil, fmt.Errorf("start container %s: %w", r.Name, err)
	}
	defer lock.Close()
	return start(ctx, h, r, a)
}

// start lets systemd go as soon as it has taken the job, and hears from the
// shim how that ends: who waits for a job is sent every signal of every unit,
// and eight clients that start containers at once would each be told what all
// of them do.
func start(ctx context.Context, h *Host, r *container.Record, a *AttachOptions) (*Session, error) {
	conn, err := h.Units(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	w, err := h.Containers.NewStarter(r.ID, a != nil)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := startUnit(ctx, h, conn, r); err != nil {
		return nil, err
	}
	warm.Up()
	h.Close()
	var s *Session
	if a != nil {
		if s, err = attachStarting(ctx, h, r, a, w); err != nil {
			return nil, err
		}
	}
	if err := waitStarted(ctx, h, r, w); err != nil {
		return nil, startFailure(ctx, h, r, s, err)
	}
	return s, nil
}

// unitLook is how often a start that takes its time is looked at through
// systemd: a unit whose shim could not even be executed leaves no word.
const unitLook = 2 * time.Second

// waitStarted waits until the container runs, however long hooks and volumes
// take.
func waitStarted(ctx context.Context, h *Host, r *container.Record, w *container.Starter) error {
	for {
		err := w.Wait(ctx, unitLook)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p, err := where(ctx, h, r)
		h.Close()
		switch {
		case err != nil:
			return err
		case p.started != nil:
			return nil
		case p.status.Active == "":
			return container.ErrNoStart
		}
	}
}

// nameWait bounds how long a start waits for the last run's unit to be
// forgotten by systemd.
const nameWait = 10 * time.Second

// startUnit asks systemd to start the container's transient unit. The unit of
// the run before may not be gone yet: that is waited for.
func startUnit(ctx context.Context, h *Host, conn *unit.Conn, r *container.Record) error {
	version, err := conn.Version(ctx)
	if err != nil {
		return err
	}
	spec := transient(h, r, version)
	for tries := 0; ; tries++ {
		err := conn.Launch(ctx, spec)
		if !errors.Is(err, unit.ErrExists) || tries == 3 {
			return err
		}
		st, err := conn.Status(ctx, spec.Name)
		if err != nil {
			return err
		}
		started, err := h.Containers.Started(r.ID)
		if err != nil {
			return err
		}
		// The shim tells of an end before systemd sees one: active and not noted
		// as started is a unit that is ending, to be waited for like one that is
		// deactivating.
		if st.Active() && (started != nil || st.ActiveState != "active") {
			return fmt.Errorf("start container %s: %w: it runs as %s", r.Name, container.ErrInUse, spec.Name)
		}
		// A process left in the unit's cgroup would keep the name taken.
		if err := sweep(h, r); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, nameWait)
		err = conn.WaitGone(wait, spec.Name, socketName(spec.Name), sweepName(r.Name))
		cancel()
		if err != nil {
			return fmt.Errorf("start container %s: its last run has not ended: %w", r.Name, err)
		}
	}
}

// startFailure finds out why the container did not start: the shim told its
// client, if there was one, and left it in the exit record, if there still is one.
func startFailure(ctx context.Context, h *Host, r *container.Record, s *Session, cause error) error {
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
		text := exit.Error
		if code != container.ExitBerth && !strings.Contains(text, r.Command[0]) {
			text = fmt.Sprintf("%q: %s", r.Command[0], text) // not every runtime says what it could not run
		}
		return &StartError{Code: code, Name: r.Name, Err: fmt.Errorf("start container %s: %s", r.Name, text)}
	}
	if p, err := where(ctx, h, r); err == nil && p.running() && p.unit != UnitName(r.Name) {
		return fmt.Errorf("start container %s: %w: it runs as %s", r.Name, container.ErrInUse, p.unit)
	}
	return fmt.Errorf("start container %s: %w: see `journalctl -u %s`", r.Name, cause, UnitName(r.Name))
}

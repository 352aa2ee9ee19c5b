package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berthrun/berth/container"
)

// RemoveOptions are how to remove a container.
type RemoveOptions struct {
	Force   bool           // stop it first if it runs
	Timeout *time.Duration // for that stop
}

// Remove removes a container that does not run, and returns its ID.
func Remove(ctx context.Context, h *Host, name string, o RemoveOptions) (string, error) {
	r, p, err := removable(ctx, h, name, o.Force)
	for end := time.Now().Add(endWait); err == nil && !o.Force && p.ending() && time.Now().Before(end); p, err = where(ctx, h, r) {
		if err := pause(ctx, lookAgain); err != nil {
			return "", err
		}
	}
	if err != nil {
		return "", err
	}
	if p.running() && !o.Force {
		return "", fmt.Errorf("remove container %s: %w: it is %s: stop it first, or use --force", r.Name, container.ErrInUse, p.state())
	}
	lock, err := lockStopped(ctx, h, r, o)
	if errors.Is(err, container.ErrNotExist) {
		return r.ID, nil // --rm: the shim was first
	}
	if err != nil {
		return "", fmt.Errorf("remove container %s: %w", r.Name, err)
	}
	defer lock.Close()
	known := r.Name
	if err := removeDropIn(h, known); err != nil {
		return "", err
	}
	if err := h.Containers.Remove(r); err != nil && !errors.Is(err, container.ErrNotExist) {
		return "", err
	}
	if r.Name != known { // it was renamed meanwhile
		return r.ID, removeDropIn(h, r.Name)
	}
	return r.ID, nil
}

// stopAgain is how long a forced removal waits for a container that it has
// stopped before it looks whether somebody has started it again.
const stopAgain = 200 * time.Millisecond

// lockStopped stops a container and takes it, when systemd has forgotten its
// units: as often as somebody starts it again meanwhile, where the removal is
// forced.
func lockStopped(ctx context.Context, h *Host, r *container.Record, o RemoveOptions) (*container.Lock, error) {
	wait := endWait
	if o.Force {
		wait = stopAgain
	}
	take := func() (*container.Lock, error) {
		return retryFor(ctx, wait, func() (*container.Lock, error) { return h.Containers.Lock(r.ID) })
	}
	for end := time.Now().Add(endWait); ; {
		if err := stop(ctx, h, r, o.Timeout); err != nil {
			return nil, err
		}
		lock, err := take()
		if err == nil {
			lock.Close() // what sweeps after the units may need it
			if err := awaitGone(ctx, h, r, UnitName(r.Name), TemplateName(r.Name)); err != nil {
				return nil, err
			}
			lock, err = take()
		}
		if !o.Force || !errors.Is(err, container.ErrInUse) || time.Now().After(end) {
			return lock, err
		}
		if now, err := h.Containers.LoadID(r.ID); err == nil {
			r.Name = now.Name // it may run by another one
		}
	}
}

// removable finds a container and where it runs; with force also by what
// remains of one that is damaged.
func removable(ctx context.Context, h *Host, name string, force bool) (r *container.Record, p *place, err error) {
	if r, err = h.Containers.Load(name); err == nil {
		p, err = where(ctx, h, r)
	}
	if !force || !errors.Is(err, container.ErrDamaged) {
		return r, p, err
	}
	if r, err = h.Containers.Remains(name); err != nil {
		return nil, nil, err
	}
	if r.Runtime.Path == "" {
		r.Runtime, _ = findRuntime(h, "") // the most likely one, to clear away a run that was cut off
	}
	p, err = where(ctx, h, r)
	return r, p, err
}

// endWait bounds the time between systemd's word that a unit is over and the
// last act of its shim.
const endWait = 5 * time.Second

// lookAgain is the pause before a second look at what is about to change.
const lookAgain = 2 * time.Millisecond

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// retryInUse takes a lock that a shim, a sweep or another verb is about to let
// go of.
func retryInUse(ctx context.Context, take func() (*container.Lock, error)) (*container.Lock, error) {
	return retryFor(ctx, endWait, take)
}

func retryFor(ctx context.Context, wait time.Duration, take func() (*container.Lock, error)) (*container.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		lock, err := take()
		if !errors.Is(err, container.ErrInUse) {
			return lock, err
		}
		if pause(ctx, lookAgain) != nil {
			return nil, err
		}
	}
}

// Rename gives a container another name. The unit it runs in keeps its own
// until the next start.
func Rename(ctx context.Context, h *Host, name, newName string) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	old := r.Name
	if err := h.Containers.Rename(r, newName); err != nil {
		return err
	}
	if r.AutoRemove { // has no drop-in
		return nil
	}
	err = errors.Join(writeDropIn(h, r), removeDropIn(h, old))
	// Removed or renamed again meanwhile, it has left that to us.
	if now, lerr := h.Containers.LoadID(r.ID); errors.Is(lerr, container.ErrNotExist) || lerr == nil && now.Name != r.Name {
		err = errors.Join(err, removeDropIn(h, r.Name))
	}
	return err
}

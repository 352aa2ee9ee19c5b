package unit

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// EventKind says what happened to a unit.
type EventKind int

// Kinds of events.
const (
	Changed  EventKind = iota + 1 // some properties have new values
	Loaded                        // the manager knows the unit now
	Unloaded                      // the manager has forgotten it; the name is free
	JobAdded
	JobEnded // Result says how
	Lost     // the watcher was too slow: look at the units again
)

// An Event is one change of one unit.
type Event struct {
	Kind   EventKind
	Unit   string
	Values map[string]any // Changed: the properties that the signal carried
	Job    uint32         // JobAdded, JobEnded
	Result string         // JobEnded
}

// watchQueue is how many events a Watcher holds for a caller that does not
// come for them.
const watchQueue = 16 << 10

// A Watcher collects the events of some units from the moment it is made.
type Watcher struct {
	c        *Conn
	patterns []string
	literal  bool // no pattern has a wildcard

	mu    sync.Mutex // guards what follows
	queue []Event
	lost  bool
	err   error
	wake  chan struct{} // capacity 1: something is to be had
}

// Watch starts to collect events of the units whose names match one of the
// patterns (globs, as systemctl has them; no patterns mean every unit). What
// happens after Watch returned is not missed, so a caller that needs to know a
// state reads it after Watch, not before.
func (c *Conn) Watch(ctx context.Context, patterns ...string) (*Watcher, error) {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, &Error{Op: "watch", Unit: p, Err: err}
		}
	}
	w := &Watcher{
		c:        c,
		patterns: slices.Clone(patterns),
		literal:  !strings.ContainsAny(strings.Join(patterns, ""), `*?[\`),
		wake:     make(chan struct{}, 1),
	}
	if err := c.addWatcher(w); err != nil {
		return nil, opError("watch", strings.Join(patterns, " "), err)
	}
	if err := c.subscribe(ctx); err != nil {
		w.Close()
		return nil, opError("watch", strings.Join(patterns, " "), err)
	}
	return w, nil
}

func (c *Conn) addWatcher(w *Watcher) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.watchers[w] = struct{}{}
	return nil
}

// Close ends the collection. Next returns ErrDisconnected from then on.
func (w *Watcher) Close() {
	w.c.mu.Lock()
	delete(w.c.watchers, w)
	w.c.mu.Unlock()
	w.fail(ErrDisconnected)
}

// Next waits for the next event.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		if e, ok, err := w.take(); ok || err != nil {
			return e, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

func (w *Watcher) take() (e Event, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.queue) > 0:
		e, w.queue = w.queue[0], w.queue[1:]
	case w.lost:
		e, w.lost = Event{Kind: Lost}, false
	case w.err != nil:
		w.signal() // for the next caller, too
		return e, false, w.err
	default:
		return e, false, nil
	}
	return e, true, nil
}

// drain drops what has been collected: the caller is about to read the state.
func (w *Watcher) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue, w.lost = nil, false
}

func (w *Watcher) put(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= watchQueue {
		w.queue, w.lost = nil, true
	}
	if !w.lost {
		w.queue = append(w.queue, e)
	}
	w.signal()
}

func (w *Watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.signal()
}

// signal wakes a waiter. Preconditions: w.mu.
func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Watcher) wants(unit string) bool {
	if len(w.patterns) == 0 {
		return true
	}
	if w.literal {
		return slices.Contains(w.patterns, unit)
	}
	return slices.ContainsFunc(w.patterns, func(p string) bool {
		ok, _ := path.Match(p, unit) // checked by Watch
		return ok
	})
}

// signal hands a signal on to those who wait for it. The reader calls it with
// every signal of every unit: nothing is decoded before it is known to be
// wanted.
func (c *Conn) signal(f frame, h header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers) == 0 && (len(c.jobs) == 0 || string(h.member) != "JobRemoved") {
		return nil
	}
	switch string(h.iface) {
	case propertyIface:
		return c.changed(f, h)
	case managerIface:
		return c.managerSignal(f, h)
	}
	return nil
}

// changed is PropertiesChanged of a unit, for one of its interfaces.
func (c *Conn) changed(f frame, h header) error {
	name, ok := unitName(string(h.path))
	if !ok || string(h.member) != "PropertiesChanged" || !c.wanted(name) {
		return nil
	}
	m, err := f.decode()
	if err != nil {
		return err
	}
	var values map[string]any
	if len(m.Body) > 1 {
		if props, ok := m.Body[1].(map[string]dbus.Variant); ok {
			values = make(map[string]any, len(props))
			for k, v := range props {
				values[k] = v.Value()
			}
		}
	}
	c.publish(Event{Kind: Changed, Unit: name, Values: values})
	return nil
}

func (c *Conn) managerSignal(f frame, h header) error {
	member := string(h.member)
	switch member {
	case "JobNew", "JobRemoved", "UnitNew", "UnitRemoved":
	default:
		return nil
	}
	m, err := f.decode()
	if err != nil {
		return err
	}
	switch member {
	case "UnitNew", "UnitRemoved":
		var name string
		var path dbus.ObjectPath
		if dbus.Store(m.Body, &name, &path) == nil {
			kind := Loaded
			if member == "UnitRemoved" {
				kind = Unloaded
			}
			c.publish(Event{Kind: kind, Unit: name})
		}
	case "JobNew":
		var id uint32
		var path dbus.ObjectPath
		var name string
		if dbus.Store(m.Body, &id, &path, &name) == nil {
			c.publish(Event{Kind: JobAdded, Unit: name, Job: id})
		}
	case "JobRemoved":
		var id uint32
		var path dbus.ObjectPath
		var name, result string
		if dbus.Store(m.Body, &id, &path, &name, &result) == nil {
			c.removed(path, result)
			c.publish(Event{Kind: JobEnded, Unit: name, Job: id, Result: result})
		}
	}
	return nil
}

// wanted says whether any watcher asks for the unit. Preconditions: c.mu.
func (c *Conn) wanted(unit string) bool {
	for w := range c.watchers {
		if w.wants(unit) {
			return true
		}
	}
	return false
}

// publish gives an event to those who ask for it. Preconditions: c.mu.
func (c *Conn) publish(e Event) {
	for w := range c.watchers {
		if w.wants(e.Unit) {
			w.put(e)
		}
	}
}

// Wait waits until ok says yes to the unit's status, and returns that. It
// looks at once and then at every change; states that lie between two looks
// are not seen, so ok should test for what stays (NRestarts, InvocationID,
// ActiveState) rather than for what passes.
func (c *Conn) Wait(ctx context.Context, name string, ok func(*Status) bool) (*Status, error) {
	w, err := c.Watch(ctx, name)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	for {
		w.drain()
		s, err := c.Status(ctx, name)
		if err != nil || ok(s) {
			return s, err
		}
		if _, err := w.Next(ctx); err != nil {
			return s, opError("wait for", name, err)
		}
	}
}

// WaitGone waits until the manager has forgotten the units, so that their
// names can be used for new transient ones.
func (c *Conn) WaitGone(ctx context.Context, names ...string) error {
	w, err := c.Watch(ctx, names...)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, name := range names {
		for {
			w.drain()
			loaded, err := c.isLoaded(ctx, name)
			if err != nil {
				return err
			}
			if !loaded {
				break
			}
			if err := w.until(ctx, Unloaded, name); err != nil {
				return opError("wait for the end of", name, err)
			}
		}
	}
	return nil
}

// until waits for an event of one kind, or for one that may have been it.
func (w *Watcher) until(ctx context.Context, kind EventKind, unit string) error {
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if e.Kind == Lost || e.Kind == kind && e.Unit == unit {
			return nil
		}
	}
}

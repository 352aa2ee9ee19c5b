package unit

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// Status is what a manager knows about a unit at one moment. The fields from
// Result on are those of a service and stay zero for other types.
type Status struct {
	Name   string
	Loaded bool // false: the manager does not know the unit, State is inactive

	LoadState    string // loaded, not-found, masked, error …
	ActiveState  string // active, activating, deactivating, inactive, failed …
	SubState     string // running, auto-restart, dead …
	Job          uint32 // queued or running, 0 for none
	JobType      string // start, stop, restart …; empty if it ended meanwhile
	InvocationID string // 32 hex digits
	Transient    bool
	Freezer      string // running, frozen, freezing, thawing

	ActiveEnter   time.Time
	InactiveEnter time.Time

	Result          string // success, exit-code, signal, oom-kill, timeout …
	MainPID         int    // 0 for none
	ExecMainPID     int    // of the last main process, also when it has ended
	ExecMainCode    int    // CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0: has not ended
	ExecMainStatus  int    // exit status or signal
	ExecMainStart   time.Time
	ExecMainExit    time.Time
	StatusText      string // STATUS= of the service
	StatusErrno     int    // ERRNO= of the service
	NRestarts       int
	ControlGroup    string
	FileDescriptors int // in the descriptor store
}

// Active says whether the unit runs or is about to.
func (s *Status) Active() bool {
	switch s.ActiveState {
	case "active", "activating", "reloading", "refreshing", "maintenance":
		return true
	}
	return false
}

// A field of Status is one property: where it is and where it goes.
type statusField struct {
	iface string
	name  string
	set   func(*Status, any)
}

// as makes a setter of a typed one; a value of another type is passed over,
// the field stays unknown.
func as[T any](set func(*Status, T)) func(*Status, any) {
	return func(s *Status, v any) {
		if t, ok := v.(T); ok {
			set(s, t)
		}
	}
}

var unitFields = []statusField{
	{unitIface, "LoadState", as(func(s *Status, v string) { s.LoadState = v })},
	{unitIface, "ActiveState", as(func(s *Status, v string) { s.ActiveState = v })},
	{unitIface, "SubState", as(func(s *Status, v string) { s.SubState = v })},
	{unitIface, "Job", as(func(s *Status, v []any) { s.Job, _ = first[uint32](v) })},
	{unitIface, "InvocationID", as(func(s *Status, v []byte) { s.InvocationID = hexID(v) })},
	{unitIface, "Transient", as(func(s *Status, v bool) { s.Transient = v })},
	{unitIface, "FreezerState", as(func(s *Status, v string) { s.Freezer = v })},
	{unitIface, "ActiveEnterTimestamp", as(func(s *Status, v uint64) { s.ActiveEnter = timestamp(v) })},
	{unitIface, "InactiveEnterTimestamp", as(func(s *Status, v uint64) { s.InactiveEnter = timestamp(v) })},
}

var serviceFields = []statusField{
	{serviceIface, "Result", as(func(s *Status, v string) { s.Result = v })},
	{serviceIface, "MainPID", as(func(s *Status, v uint32) { s.MainPID = int(v) })},
	{serviceIface, "ExecMainPID", as(func(s *Status, v uint32) { s.ExecMainPID = int(v) })},
	{serviceIface, "ExecMainCode", as(func(s *Status, v int32) { s.ExecMainCode = int(v) })},
	{serviceIface, "ExecMainStatus", as(func(s *Status, v int32) { s.ExecMainStatus = int(v) })},
	{serviceIface, "ExecMainStartTimestamp", as(func(s *Status, v uint64) { s.ExecMainStart = timestamp(v) })},
	{serviceIface, "ExecMainExitTimestamp", as(func(s *Status, v uint64) { s.ExecMainExit = timestamp(v) })},
	{serviceIface, "StatusText", as(func(s *Status, v string) { s.StatusText = v })},
	{serviceIface, "StatusErrno", as(func(s *Status, v int32) { s.StatusErrno = int(v) })},
	{serviceIface, "NRestarts", as(func(s *Status, v uint32) { s.NRestarts = int(v) })},
	{serviceIface, "ControlGroup", as(func(s *Status, v string) { s.ControlGroup = v })},
	{serviceIface, "NFileDescriptorStore", as(func(s *Status, v uint32) { s.FileDescriptors = int(v) })},
}

// timestamp converts systemd's microseconds; 0 is "never".
func timestamp(usec uint64) time.Time {
	if usec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}

func hexID(id []byte) string {
	b := make([]byte, 0, 2*len(id))
	for _, v := range id {
		b = append(b, hexDigits[v>>4], hexDigits[v&15])
	}
	return string(b)
}

// Status reads a unit's status. A unit that the manager does not know is no
// error: its Loaded is false.
func (c *Conn) Status(ctx context.Context, name string) (*Status, error) {
	all, err := c.StatusAll(ctx, name)
	if err != nil {
		return nil, opError("read status of", name, err)
	}
	return all[0], nil
}

// StatusAll reads the status of several units, in two round trips however many
// there are, or three if any has a job. Each is what was true when the manager came to it.
func (c *Conn) StatusAll(ctx context.Context, names ...string) ([]*Status, error) {
	all := make([]*Status, len(names))
	loaded, err := c.loaded(ctx, names)
	if err != nil {
		return nil, err
	}
	b := c.batch()
	type read struct {
		s *Status
		f *statusField
		k *call
	}
	var reads []read
	add := func(s *Status, fields []statusField) {
		for i := range fields {
			f := &fields[i]
			reads = append(reads, read{s, f, b.get(unitPath(s.Name), f.iface, f.name)})
		}
	}
	for i, name := range names {
		s := &Status{Name: name, ActiveState: "inactive", SubState: "dead"}
		all[i] = s
		if !loaded[i] {
			continue
		}
		s.Loaded = true
		add(s, unitFields)
		if isService(name) {
			add(s, serviceFields)
		}
	}
	if err := b.send(ctx); err != nil {
		return nil, err
	}
	for _, r := range reads {
		body, err := c.await(ctx, r.k)
		var be *BusError
		switch {
		case errors.As(err, &be):
			continue // this version does not have the property: it stays unknown
		case err != nil:
			return nil, err
		}
		v, _ := first[dbus.Variant](body)
		r.f.set(r.s, v.Value())
	}
	for _, s := range all {
		if s.LoadState == "not-found" {
			s.Loaded = false // forgotten between the two round trips
		}
	}
	return all, c.jobTypes(ctx, all)
}

// jobTypes asks what the jobs are that the units have.
func (c *Conn) jobTypes(ctx context.Context, all []*Status) error {
	b := c.batch()
	for _, s := range all {
		if s.Job != 0 {
			path := managerPath + "/job/" + dbus.ObjectPath(strconv.FormatUint(uint64(s.Job), 10))
			b.get(path, jobIface, "JobType")
		}
	}
	if err := b.send(ctx); err != nil {
		return err
	}
	next := b.calls
	for _, s := range all {
		if s.Job == 0 {
			continue
		}
		body, err := c.await(ctx, next[0])
		next = next[1:]
		var be *BusError
		if err != nil && !errors.As(err, &be) {
			return err
		}
		v, _ := first[dbus.Variant](body)
		s.JobType, _ = v.Value().(string)
	}
	return nil
}

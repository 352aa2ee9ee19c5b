package unit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/berthrun/berth/unit"
	"github.com/berthrun/berth/unit/unittest"
)

const manager = "org.freedesktop.systemd1.Manager."

const jobPath = dbus.ObjectPath("/org/freedesktop/systemd1/job/7")

// ended sends the signal that job 7 has ended.
func ended(p **unittest.Peer, unit, result string) func() {
	return func() { (*p).ManagerSignal("JobRemoved", uint32(7), jobPath, unit, result) }
}

func TestStop(t *testing.T) {
	var p *unittest.Peer
	result := "done"
	handle := func(c unittest.Call) unittest.Reply {
		if c.Member != manager+"StopUnit" || !cmp.Equal(c.Args, []any{"web.service", "replace"}) {
			t.Errorf("got %s %v", c.Member, c.Args)
		}
		r := unittest.Return(jobPath)
		r.Then = ended(&p, "web.service", result)
		return r
	}
	p, c := unittest.Dial(t, handle)
	j, err := c.Stop(t.Context(), "web.service")
	if err != nil || j.ID != 7 {
		t.Fatal(j, err)
	}
	if err := j.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	result = "failed"
	j, err = c.Stop(t.Context(), "web.service")
	if err != nil {
		t.Fatal(err)
	}
	err = j.Wait(t.Context())
	var e *unit.Error
	if !errors.As(err, &e) || e.Result != unit.JobFailed || err.Error() != "stop unit web.service: job failed" {
		t.Errorf("got %v, want a failed job", err)
	}
}

// TestJobOrder: the end of a job that comes in the same segment as the reply,
// and before the caller can look, is not missed; jobs of others do not count.
func TestJobOrder(t *testing.T) {
	var p *unittest.Peer
	p, c := unittest.Dial(t, func(unittest.Call) unittest.Reply {
		p.ManagerSignal("JobRemoved", uint32(6), dbus.ObjectPath("/org/freedesktop/systemd1/job/6"), "other.service", "failed")
		r := unittest.Return(jobPath)
		r.Then = ended(&p, "web.service", "done")
		return r
	})
	for range 200 {
		j, err := c.Start(t.Context(), "web.service")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := j.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

func TestStartTransient(t *testing.T) {
	var got unittest.Call
	var content string
	_, c := unittest.Dial(t, func(c unittest.Call) unittest.Reply {
		got = c
		if len(c.Files) == 1 {
			b, _ := io.ReadAll(c.Files[0])
			content = string(b)
		}
		return unittest.Return(jobPath)
	})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.WriteString("passed")
	w.Close()
	defer r.Close()
	_, err = c.StartTransient(t.Context(), &unit.Spec{
		Name:         "web.service",
		Description:  "100% web",
		Dependencies: unit.Dependencies{Wants: []string{"web.socket"}},
		Exec:         unit.Exec{StandardInputFile: r},
		Service: unit.Service{
			Type:       "notify",
			ExecStart:  []unit.Command{{Argv: []string{"/bin/web", "$HOME"}}},
			RestartSec: new(time.Duration(0)),
		},
		Properties: []unit.Property{{Name: "PrivateTmp", Value: true}},
		Aux: []unit.Spec{{
			Name:   "web.socket",
			Socket: unit.Socket{Listen: []unit.Listen{{Type: "Stream", Address: "/run/web"}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	type pair = []any
	want := []any{
		"web.service", "fail",
		[]pair{
			{"Description", dbus.MakeVariant("100% web")},
			{"Wants", dbus.MakeVariant([]string{"web.socket"})},
			{"Type", dbus.MakeVariant("notify")},
			{"ExecStart", dbus.MakeVariant([]pair{{"/bin/web", []string{"/bin/web", "$$HOME"}, false}})},
			{"RestartUSec", dbus.MakeVariant(uint64(0))},
			{"StandardInputFileDescriptor", dbus.Variant{}},
			{"PrivateTmp", dbus.MakeVariant(true)},
		},
		[]pair{{"web.socket", []pair{{"Listen", dbus.MakeVariant([]pair{{"Stream", "/run/web"}})}}}},
	}
	if got.Member != manager+"StartTransientUnit" || content != "passed" {
		t.Errorf("got %s with %q", got.Member, content)
	}
	opt := cmp.Comparer(func(a, b dbus.Variant) bool {
		if _, ok := a.Value().(dbus.UnixFD); ok || a.Value() == nil {
			return true // its number is the receiver's
		}
		return cmp.Equal(a.Value(), b.Value())
	})
	if d := cmp.Diff(want, got.Args, opt); d != "" {
		t.Errorf("arguments (-want +got):\n%s", d)
	}
}

func TestErrors(t *testing.T) {
	for name, want := range map[string]error{
		"org.freedesktop.systemd1.NoSuchUnit":      unit.ErrNotExist,
		"org.freedesktop.systemd1.UnitExists":      unit.ErrExists,
		"org.freedesktop.DBus.Error.AccessDenied":  unit.ErrPermission,
		"org.freedesktop.DBus.Error.UnknownMethod": unit.ErrNotSupported,
	} {
		_, c := unittest.Dial(t, func(unittest.Call) unittest.Reply { return unittest.Fail(name, "told so") })
		_, err := c.Start(t.Context(), "web.service")
		if !errors.Is(err, want) || err.Error() != "start unit web.service: told so" {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}

func TestNotSupported(t *testing.T) {
	spec := &unit.Spec{Name: "web.service", Service: unit.Service{RestartMode: "direct"}}
	_, c := unittest.DialVersion(t, "252.38", func(unittest.Call) unittest.Reply {
		t.Error("asked a manager that is known not to have it")
		return unittest.Return(jobPath)
	})
	if v, err := c.Version(t.Context()); v != 252 || err != nil {
		t.Fatal(v, err)
	}
	_, err := c.StartTransient(t.Context(), spec)
	if !errors.Is(err, unit.ErrNotSupported) || !strings.Contains(err.Error(), "RestartMode= needs systemd 254 or newer, this is 252") {
		t.Errorf("got %v", err)
	}
	// Where the version is a surprise, the manager's own refusal says the same.
	_, c = unittest.DialVersion(t, "unknown", func(unittest.Call) unittest.Reply {
		return unittest.Fail("org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property RestartMode, or unknown property.")
	})
	_, err = c.StartTransient(t.Context(), spec)
	if !errors.Is(err, unit.ErrNotSupported) || !strings.Contains(err.Error(), "needs systemd 254") {
		t.Errorf("got %v", err)
	}
}

// unitAnswers is a manager with one unit.
type unitAnswers struct {
	mu     sync.Mutex
	loaded bool
	values map[string]any
}

func (u *unitAnswers) set(loaded bool, values map[string]any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.loaded, u.values = loaded, values
}

func (u *unitAnswers) handle(c unittest.Call) unittest.Reply {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c.Member == manager+"GetUnit" {
		if !u.loaded {
			return unittest.Fail("org.freedesktop.systemd1.NoSuchUnit", "Unit web.service not loaded.")
		}
		return unittest.Return(webPath)
	}
	if v, ok := u.values[c.Property()]; ok && (c.Path == webPath || c.Path == jobPath) {
		return unittest.Return(dbus.MakeVariant(v))
	}
	return unittest.Fail("org.freedesktop.DBus.Error.UnknownProperty", "Unknown property.")
}

const webPath = dbus.ObjectPath("/org/freedesktop/systemd1/unit/web_2eservice")

func TestStatus(t *testing.T) {
	u := &unitAnswers{}
	_, c := unittest.Dial(t, u.handle)
	got, err := c.Status(t.Context(), "web.service")
	if want := (&unit.Status{Name: "web.service", ActiveState: "inactive", SubState: "dead"}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("not loaded: got %+v, %v", got, err)
	}
	u.set(true, map[string]any{
		"LoadState": "loaded", "ActiveState": "active", "SubState": "running",
		"Job": struct {
			ID   uint32
			Path dbus.ObjectPath
		}{7, jobPath},
		"JobType":      "stop",
		"InvocationID": []byte{0xab, 0x01}, "MainPID": uint32(12), "ExecMainStatus": int32(3),
		"ActiveEnterTimestamp": uint64(1_500_000), "Result": 5, // of a wrong type
	})
	got, err = c.Status(t.Context(), "web.service")
	want := &unit.Status{
		Name: "web.service", Loaded: true, LoadState: "loaded", ActiveState: "active", SubState: "running", Job: 7, JobType: "stop",
		InvocationID: "ab01", MainPID: 12, ExecMainStatus: 3, ActiveEnter: time.UnixMicro(1_500_000),
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestWait(t *testing.T) {
	u := &unitAnswers{}
	u.set(true, map[string]any{"ActiveState": "activating"})
	p, c := unittest.Dial(t, u.handle)
	looks := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		_, err := c.Wait(t.Context(), "web.service", func(s *unit.Status) bool {
			looks <- s.ActiveState
			return s.ActiveState == "active"
		})
		done <- err
	}()
	<-looks
	changed := func(path dbus.ObjectPath) {
		p.Signal(path, "org.freedesktop.DBus.Properties.PropertiesChanged", "org.freedesktop.systemd1.Unit",
			map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("x")}, []string{})
	}
	changed("/org/freedesktop/systemd1/unit/other_2eservice")
	changed(webPath)
	if s := <-looks; s != "activating" {
		t.Errorf("looked at %q", s)
	}
	u.set(true, map[string]any{"ActiveState": "active"})
	changed(webPath)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(looks); n != 1 {
		t.Errorf("%d more looks than changes", n-1)
	}
}

func TestWaitGone(t *testing.T) {
	u := &unitAnswers{}
	u.set(true, nil)
	p, c := unittest.Dial(t, u.handle)
	done := make(chan error, 1)
	go func() { done <- c.WaitGone(t.Context(), "web.service") }()
	select {
	case err := <-done:
		t.Fatalf("returned while the unit is there: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	u.set(false, nil)
	p.ManagerSignal("UnitRemoved", "web.service", webPath)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	p, c := unittest.Dial(t, func(unittest.Call) unittest.Reply { return unittest.Return() })
	w, err := c.Watch(t.Context(), "berth-*.service")
	if err != nil {
		t.Fatal(err)
	}
	p.ManagerSignal("UnitNew", "other.service", webPath)
	p.ManagerSignal("UnitNew", "berth-web.service", webPath)
	p.ManagerSignal("JobNew", uint32(7), jobPath, "berth-web.service")
	p.Signal("/org/freedesktop/systemd1/unit/berth_2dweb_2eservice", "org.freedesktop.DBus.Properties.PropertiesChanged",
		"org.freedesktop.systemd1.Service", map[string]dbus.Variant{"MainPID": dbus.MakeVariant(uint32(3))}, []string{})
	p.ManagerSignal("JobRemoved", uint32(7), jobPath, "berth-web.service", "done")
	p.ManagerSignal("UnitRemoved", "berth-web.service", webPath)
	const name = "berth-web.service"
	for _, want := range []unit.Event{
		{Kind: unit.Loaded, Unit: name},
		{Kind: unit.JobAdded, Unit: name, Job: 7},
		{Kind: unit.Changed, Unit: name, Values: map[string]any{"MainPID": uint32(3)}},
		{Kind: unit.JobEnded, Unit: name, Job: 7, Result: "done"},
		{Kind: unit.Unloaded, Unit: name},
	} {
		if got, err := w.Next(t.Context()); err != nil || !cmp.Equal(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	w.Close()
	if _, err := w.Next(t.Context()); !errors.Is(err, unit.ErrDisconnected) {
		t.Errorf("after Close: got %v", err)
	}
	if _, err := c.Watch(t.Context(), "["); err == nil {
		t.Error("a bad pattern was taken")
	}
}

// TestSlowWatcher: who does not come for events is told so, holds a bounded
// number of them, and holds up nobody.
func TestSlowWatcher(t *testing.T) {
	p, c := unittest.Dial(t, func(unittest.Call) unittest.Reply { return unittest.Return() })
	w, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 17 << 10 {
		p.ManagerSignal("UnitNew", "web.service", webPath)
	}
	if err := c.DaemonReload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := w.Next(t.Context()); err != nil || e.Kind != unit.Lost {
		t.Errorf("got %+v, %v, want Lost", e, err)
	}
	p.ManagerSignal("UnitRemoved", "web.service", webPath)
	if e, err := w.Next(t.Context()); err != nil || e.Kind != unit.Unloaded {
		t.Errorf("got %+v, %v, want Unloaded", e, err)
	}
}

// TestDisconnected: nobody waits for a manager that is gone.
func TestDisconnected(t *testing.T) {
	for name, end := range map[string]func(*unittest.Peer, *unit.Conn){
		"hangup":  func(p *unittest.Peer, _ *unit.Conn) { p.Hangup() },
		"garbage": func(p *unittest.Peer, _ *unit.Conn) { p.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"close":   func(_ *unittest.Peer, c *unit.Conn) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p, c := unittest.Dial(t, func(c unittest.Call) unittest.Reply {
				if c.Member == manager+"StartUnit" {
					return unittest.Return(jobPath)
				}
				return unittest.Reply{Silent: true}
			})
			j, err := c.Start(t.Context(), "web.service")
			if err != nil {
				t.Fatal(err)
			}
			w, err := c.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			call := make(chan error, 1)
			go func() {
				_, err := c.Status(context.Background(), "web.service")
				call <- err
			}()
			time.Sleep(10 * time.Millisecond)
			end(p, c)
			if err := <-call; !errors.Is(err, unit.ErrDisconnected) {
				t.Errorf("call: got %v", err)
			}
			if err := j.Wait(t.Context()); !errors.Is(err, unit.ErrDisconnected) {
				t.Errorf("job: got %v", err)
			}
			if _, err := w.Next(t.Context()); !errors.Is(err, unit.ErrDisconnected) {
				t.Errorf("watcher: got %v", err)
			}
			if _, err := c.Start(t.Context(), "web.service"); !errors.Is(err, unit.ErrDisconnected) {
				t.Errorf("later call: got %v", err)
			}
		})
	}
}

// TestCancel: a call that is given up does not disturb the next.
func TestCancel(t *testing.T) {
	release := make(chan struct{})
	first := true
	_, c := unittest.Dial(t, func(unittest.Call) unittest.Reply {
		if first {
			first = false
			<-release
		}
		return unittest.Return()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.DaemonReload(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(release)
	if err := c.DaemonReload(t.Context()); err != nil {
		t.Errorf("after a call that was given up: %v", err)
	}
	if err := c.DaemonReload(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a dead context: got %v", err)
	}
}

// A message bus refuses more than 128 calls without a reply.
func TestManyCalls(t *testing.T) {
	names := make([]string, 500)
	for i := range names {
		names[i] = fmt.Sprintf("a%d.service", i)
	}
	var calls atomic.Int32
	_, c := unittest.Dial(t, func(unittest.Call) unittest.Reply {
		calls.Add(1)
		return unittest.Reply{Silent: true}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.StatusAll(ctx, names...); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if n := calls.Load(); n < 64 || n > 128 {
		t.Errorf("%d calls are without a reply", n)
	}
	u := &unitAnswers{}
	_, c = unittest.Dial(t, u.handle)
	if all, err := c.StatusAll(t.Context(), names...); err != nil || len(all) != len(names) {
		t.Errorf("got %d, %v", len(all), err)
	}
}

func TestNoSystemd(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	if _, err := unit.DialUser(t.Context()); !errors.Is(err, unit.ErrNoSystemd) {
		t.Errorf("got %v, want ErrNoSystemd", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := unit.DialUser(t.Context()); !errors.Is(err, unit.ErrNoSystemd) {
		t.Errorf("without XDG_RUNTIME_DIR: got %v, want ErrNoSystemd", err)
	}
}

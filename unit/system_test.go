package unit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/berthrun/berth/unit"
)

// dialSystem connects to the real manager of this machine.
func dialSystem(t testing.TB) *unit.Conn {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c, err := unit.Dial(t.Context())
	if errors.Is(err, unit.ErrNoSystemd) {
		t.Skip("needs systemd as PID 1 (/run/systemd/private does not answer)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func unitName(t testing.TB, i int) string {
	return fmt.Sprintf("berthtest-%d-%d.service", os.Getpid(), i)
}

func BenchmarkDial(b *testing.B) {
	dialSystem(b)
	for b.Loop() {
		c, err := unit.Dial(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Version(b.Context()); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	c := dialSystem(b)
	for b.Loop() {
		if _, err := c.List(b.Context(), "no-such-*"); err != nil {
			b.Fatal(err)
		}
	}
}

func startSleep(t testing.TB, c *unit.Conn, name string) {
	t.Helper()
	j, err := c.StartTransient(t.Context(), &unit.Spec{
		Name:        name,
		CollectMode: "inactive-or-failed",
		Service:     unit.Service{Type: "exec", ExecStart: []unit.Command{{Argv: []string{"/bin/sleep", "1000"}}}},
	})
	if err == nil {
		err = j.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if j, err := c.Stop(ctx, name); err == nil {
			j.Wait(ctx)
		}
	})
}

func BenchmarkStatus(b *testing.B) {
	c := dialSystem(b)
	startSleep(b, c, unitName(b, 0))
	for b.Loop() {
		if _, err := c.Status(b.Context(), unitName(b, 0)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList100(b *testing.B) {
	c := dialSystem(b)
	var names []string
	for i := range 100 {
		names = append(names, unitName(b, i))
		startSleep(b, c, names[i])
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			l, err := c.List(b.Context(), fmt.Sprintf("berthtest-%d-*.service", os.Getpid()))
			if err != nil || len(l) != 100 {
				b.Fatal(err, len(l))
			}
		}
	})
	b.Run("status", func(b *testing.B) {
		for b.Loop() {
			l, err := c.StatusAll(b.Context(), names...)
			if err != nil || len(l) != 100 || l[7].MainPID == 0 {
				b.Fatal(err, len(l))
			}
		}
	})
}

func TestTransient(t *testing.T) {
	c := dialSystem(t)
	name := unitName(t, 0)
	startSleep(t, c, name)
	s, err := c.Status(t.Context(), name)
	if err != nil || s.MainPID == 0 || s.ActiveState != "active" || len(s.InvocationID) != 32 {
		t.Fatalf("%+v %v", s, err)
	}
	_, err = c.StartTransient(t.Context(), &unit.Spec{Name: name, Service: unit.Service{ExecStart: []unit.Command{{Argv: []string{"/bin/true"}}}}})
	if !errors.Is(err, unit.ErrExists) {
		t.Fatal(err)
	}
	go c.Kill(context.Background(), name, unit.KillMain, 9)
	if err := c.WaitGone(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	s, err = c.Status(t.Context(), name)
	if err != nil || s.Loaded {
		t.Fatalf("%+v %v", s, err)
	}
}

// TestJobType: a stop that waits for the service is seen as such.
func TestJobType(t *testing.T) {
	c := dialSystem(t)
	name := unitName(t, 1)
	j, err := c.StartTransient(t.Context(), &unit.Spec{
		Name:        name,
		CollectMode: "inactive-or-failed",
		Service: unit.Service{
			ExecStart: []unit.Command{{Argv: []string{"/bin/sleep", "1000"}}},
			ExecStop:  []unit.Command{{Argv: []string{"/bin/sleep", "0.5"}}},
		},
	})
	if err == nil {
		err = j.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	j, err = c.Stop(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context(), name)
	if err != nil || s.Job != j.ID || s.JobType != "stop" {
		t.Errorf("got %+v, %v, want a stop job %d", s, err, j.ID)
	}
	if err := j.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.WaitGone(t.Context(), name); err != nil {
		t.Error(err)
	}
	if _, err := c.Stop(t.Context(), name); !errors.Is(err, unit.ErrNotExist) {
		t.Errorf("stop of a unit that is not there: got %v", err)
	}
}

// TestFailure: how a start fails is told apart.
func TestFailure(t *testing.T) {
	c := dialSystem(t)
	for what, argv := range map[string][]string{"exit": {"/bin/false"}, "missing": {"/nonexistent"}} {
		name := fmt.Sprintf("berthtest-%d-%s.service", os.Getpid(), what)
		j, err := c.StartTransient(t.Context(), &unit.Spec{
			Name:        name,
			CollectMode: "inactive-or-failed",
			Service:     unit.Service{Type: "notify", ExecStart: []unit.Command{{Argv: argv}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var e *unit.Error
		if err := j.Wait(t.Context()); !errors.As(err, &e) || e.Result != unit.JobFailed {
			t.Errorf("%s: got %v, want a failed job", what, err)
		}
	}
}

// TestWatchSystem: the life of a unit, as seen by somebody else.
func TestWatchSystem(t *testing.T) {
	c, other := dialSystem(t), dialSystem(t)
	name := unitName(t, 2)
	w, err := other.Watch(t.Context(), fmt.Sprintf("berthtest-%d-*", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := other.Version(t.Context()); err != nil { // it is ready for signals
		t.Fatal(err)
	}
	startSleep(t, c, name)
	if err := c.Kill(t.Context(), name, unit.KillMain, 9); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seen := make(map[unit.EventKind]int)
	states := make(map[any]bool)
	for seen[unit.Unloaded] == 0 {
		e, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err, seen)
		}
		if e.Unit == name {
			seen[e.Kind]++
			states[e.Values["ActiveState"]] = true
		}
	}
	if seen[unit.Loaded] == 0 || seen[unit.JobAdded] == 0 || seen[unit.JobEnded] == 0 || !states["active"] || !states["failed"] {
		t.Errorf("saw %v, states %v", seen, states)
	}
}

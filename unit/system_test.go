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

func BenchmarkVersion(b *testing.B) {
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
	t.Logf("%+v", s)
	_, err = c.StartTransient(t.Context(), &unit.Spec{Name: name, Service: unit.Service{ExecStart: []unit.Command{{Argv: []string{"/bin/true"}}}}})
	t.Log(err)
	if !errors.Is(err, unit.ErrExists) {
		t.Fatal(err)
	}
	begin := time.Now()
	go c.Kill(context.Background(), name, unit.KillMain, 9)
	if err := c.WaitGone(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Log("gone after", time.Since(begin))
	s, err = c.Status(t.Context(), name)
	if err != nil || s.Loaded {
		t.Fatalf("%+v %v", s, err)
	}
}

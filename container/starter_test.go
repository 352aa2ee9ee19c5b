package container

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestStarters(t *testing.T) {
	s, r := pendingRecord(t)
	attaching, err := s.NewStarter(r.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(r.ID); err != nil { // the shim's first step
		t.Fatal(err)
	}
	plain, err := s.NewStarter(r.ID, false)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := s.NewStarter(r.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	dead.fifo.Close() // as its maker's end does

	w := s.Starters(r.ID)
	if !w.Attaching() {
		t.Error("nobody attaches")
	}
	if err := plain.Wait(t.Context(), time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("before it was told: %v", err)
	}
	w.Tell(true)
	for _, c := range []*Starter{attaching, plain} {
		if err := c.Wait(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := s.Starters(r.ID); len(left.fifos) != 0 || left.Attaching() {
		t.Errorf("left: %v", left.names)
	}
	entries, err := os.ReadDir(s.Dir(r.ID))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != RecordFile && e.Name() != RunLink {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestStarterFailed(t *testing.T) {
	s, r := pendingRecord(t)
	c, err := s.NewStarter(r.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := s.Commit(r.ID); err != nil {
		t.Fatal(err)
	}
	w := s.Starters(r.ID)
	w.Tell(false)
	w.Tell(true) // the first word counts
	if err := c.Wait(t.Context(), time.Second); !errors.Is(err, ErrNoStart) {
		t.Errorf("got %v", err)
	}
}

// A client that attaches and dies is not waited for.
func TestAttacherDies(t *testing.T) {
	s, r := pendingRecord(t)
	c, err := s.NewStarter(r.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(r.ID); err != nil {
		t.Fatal(err)
	}
	w := s.Starters(r.ID)
	if !w.Attaching() {
		t.Error("nobody attaches")
	}
	c.fifo.Close()
	if w.Attaching() {
		t.Error("somebody attaches")
	}
	w.Tell(true)
}

func pendingRecord(t *testing.T) (*Store, *Record) {
	t.Helper()
	s := Open(t.TempDir(), t.TempDir())
	r := testRecord("web")
	p, err := s.Prepare(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return s, r
}

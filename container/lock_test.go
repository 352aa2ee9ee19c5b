package container

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

func TestLocks(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "web")
	must := func(l *Lock, err error) *Lock {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	refused := func(what string, l *Lock, err error) {
		t.Helper()
		if !errors.Is(err, ErrInUse) {
			t.Errorf("%s: got %v, %v, want ErrInUse", what, l, err)
		}
	}
	a, b := must(s.Hold(r.ID)), must(s.Hold(r.ID)) // a shim and the maker
	l, err := s.Lock(r.ID)
	refused("lock while it is held", l, err)
	a.Close()
	l, err = s.Lock(r.ID)
	refused("lock while it is held once", l, err)
	b.Close()
	l = must(s.Lock(r.ID))
	h, err := s.Hold(r.ID)
	refused("hold while it is locked", h, err)
	h, err = s.Lock(r.ID)
	refused("second lock", h, err)
	l.Close()
	must(s.Hold(r.ID)).Close()

	if err := s.Remove(r); err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func(string) (*Lock, error){"hold": s.Hold, "lock": s.Lock, "hold run": s.HoldRun, "end run": s.EndRun} {
		if _, err := f(r.ID); !errors.Is(err, ErrNotExist) {
			t.Errorf("%s of what is not there: got %v, want ErrNotExist", what, err)
		}
	}
}

// A remove follows on the lock that another remove had: there is nothing left
// to lock.
func TestLockAgainstRemove(t *testing.T) {
	s := testStore(t)
	var now atomic.Pointer[Record]
	now.Store(create(t, s, "web"))
	other := func() {
		l, err := s.Lock(now.Load().ID)
		if err != nil {
			if !errors.Is(err, ErrInUse) && !errors.Is(err, ErrNotExist) {
				t.Error(err)
			}
			return
		}
		if !exists(l.f.Name()) {
			t.Error("locked a container that is gone")
		}
		l.Close()
	}
	against(t, func() {
		r := now.Load()
		l, err := s.Lock(r.ID)
		if errors.Is(err, ErrInUse) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		if err := s.Remove(r); err != nil {
			t.Error(err)
		}
		l.Close()
		now.Store(create(t, s, "web"))
	}, other, other)
}

func TestRunLocks(t *testing.T) {
	s := testStore(t)
	id := NewID()
	if err := os.MkdirAll(s.RunDir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	client, err := s.HoldRun(id)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan *Lock)
	go func() {
		l, err := s.EndRun(id)
		if err != nil {
			t.Error(err)
		}
		ended <- l
	}()
	select {
	case <-ended:
		t.Fatal("the run ended under a client that connects")
	case <-time.After(20 * time.Millisecond):
	}
	client.Close()
	l := <-ended
	if _, err := s.HoldRun(id); !errors.Is(err, ErrInUse) {
		t.Errorf("hold of an ending run: got %v, want ErrInUse", err)
	}
	if err := os.RemoveAll(s.RunDir(id)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := s.HoldRun(id); !errors.Is(err, ErrNotExist) {
		t.Errorf("hold of a run that is over: got %v, want ErrNotExist", err)
	}
}

// Who holds a run may connect: it must be the run that is there.
func TestHoldRunAgainstEnd(t *testing.T) {
	s := testStore(t)
	id := NewID()
	if err := os.MkdirAll(s.run, 0o700); err != nil {
		t.Fatal(err)
	}
	client := func() {
		l, err := s.HoldRun(id)
		if err == nil {
			if !exists(s.RunDir(id)) {
				t.Error("held a run that is over")
			}
			l.Close()
		} else if !errors.Is(err, ErrNotExist) && !errors.Is(err, ErrInUse) {
			t.Error(err)
		}
	}
	against(t, func() {
		if err := os.Mkdir(s.RunDir(id), 0o700); err != nil {
			t.Error(err)
			return
		}
		l, err := s.EndRun(id)
		if err != nil {
			t.Error(err)
			return
		}
		if err := os.RemoveAll(s.RunDir(id)); err != nil {
			t.Error(err)
		}
		l.Close()
	}, client, client)
}

package container

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// raceTime is how long one race is run: long enough to have failed in every of
// ten runs where the store was wrong.
const raceTime = 150 * time.Millisecond

// against runs f over and over while others run beside it.
func against(t *testing.T, f func(), others ...func()) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, o := range others {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					o()
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	for end := time.Now().Add(raceTime); time.Now().Before(end) && !t.Failed(); {
		f()
	}
}

// whole says what is missing of a container that is there.
func whole(s *Store, r *Record) error {
	for i := range someFiles {
		if _, err := os.Lstat(filepath.Join(s.Dir(r.ID), fmt.Sprint("f", i))); err != nil {
			return err
		}
	}
	got, err := s.Load(r.Name)
	if err != nil {
		return err
	}
	if got.ID != r.ID {
		return fmt.Errorf("its name leads to %s", got.ID)
	}
	return nil
}

// There is a moment between a directory's making and its lock.
func TestSweepAgainstMkdir(t *testing.T) {
	s := testStore(t)
	var making atomic.Value
	making.Store(NewID())
	sweep := func() {
		if _, err := s.discard(making.Load().(string)); err != nil {
			t.Errorf("discard: %v", err)
		}
	}
	against(t, func() {
		id := NewID()
		making.Store(id)
		l, err := mkdirLocked(s.pending(id))
		if err != nil {
			t.Errorf("make: %v", err)
			return
		}
		if err := os.WriteFile(filepath.Join(s.pending(id), RecordFile), nil, 0o600); err != nil {
			t.Errorf("made, locked and gone: %v", err)
		}
		l.Close()
		sweep()
	}, sweep, sweep)
}

func TestSweepAgainstCreate(t *testing.T) {
	s := testStore(t)
	sweep := func() {
		if err := s.Sweep(); err != nil {
			t.Errorf("sweep: %v", err)
		}
	}
	against(t, func() {
		r := testRecord("web")
		if err := s.Create(r, fillSome); err != nil {
			t.Errorf("create: %v", err)
			return
		}
		if err := whole(s, r); err != nil {
			t.Errorf("created: %v", err)
		}
		if err := s.Remove(r); err != nil {
			t.Errorf("remove: %v", err)
		}
	}, sweep, sweep)
	sweep()
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A creator is killed as soon as it has asked for the start: the shim's commit
// meets a sweep, and a creator that wants the name. Either there is a whole
// container or none.
func TestSweepAgainstCommit(t *testing.T) {
	for what, other := range map[string]func(*Store) error{
		"sweep": (*Store).Sweep,
		"claim": func(s *Store) error {
			r := testRecord("web")
			err := s.Create(r, nil)
			if errors.Is(err, ErrExists) {
				return nil
			}
			return errors.Join(err, s.Remove(r))
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := testStore(t)
			committed, swept := 0, 0
			against(t, func() {
				r := testRecord("web")
				p, err := s.Prepare(r, fillSome)
				if errors.Is(err, ErrExists) && what == "claim" {
					return
				}
				if err != nil {
					t.Errorf("prepare: %v", err)
					return
				}
				p.lock.Close()
				time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
				if _, err := s.LoadStarting(r.ID); err != nil {
					swept++
					return
				}
				committed++
				if err := whole(s, r); err != nil {
					t.Errorf("committed: %v", err)
				}
				if l, err := s.Hold(r.ID); err != nil {
					t.Errorf("hold: %v", err)
				} else {
					l.Close()
				}
				if err := s.Remove(r); err != nil {
					t.Errorf("remove: %v", err)
				}
			}, func() {
				if err := other(s); err != nil {
					t.Error(err)
				}
			})
			t.Logf("%d committed, %d swept", committed, swept)
			if err := s.Sweep(); err != nil {
				t.Error(err)
			}
			if left := tree(t, s); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// A client gives up while the shim commits.
func TestCloseAgainstCommit(t *testing.T) {
	s := testStore(t)
	for range 150 {
		r := testRecord("web")
		p, err := s.Prepare(r, fillSome)
		if err != nil {
			t.Fatal(err)
		}
		done := getDone(func() {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			if err := p.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		err = s.Commit(r.ID)
		<-done
		if err != nil {
			continue
		}
		if err := whole(s, r); err != nil {
			t.Fatalf("committed: %v", err)
		}
		if err := s.Remove(r); err != nil {
			t.Fatal(err)
		}
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Whoever got a name has it until it gives it up.
func TestNameRace(t *testing.T) {
	s := testStore(t)
	one := func() {
		r := testRecord("web")
		err := s.Create(r, fillSome)
		if errors.Is(err, ErrExists) {
			return
		}
		if err != nil {
			t.Errorf("create: %v", err)
			return
		}
		if err := whole(s, r); err != nil {
			t.Errorf("created: %v", err)
		}
		if err := s.Remove(r); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	against(t, one, one, one)
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRenameAgainstCreate(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "a")
	names := []string{"b", "a"}
	i := 0
	against(t, func() {
		to := names[i%2]
		err := s.Rename(r, to)
		if errors.Is(err, ErrExists) {
			return
		}
		if err != nil {
			t.Errorf("rename: %v", err)
			return
		}
		i++
		if err := whole(s, r); err != nil {
			t.Errorf("renamed to %s: %v", to, err)
		}
	}, func() {
		n := testRecord(names[rand.IntN(2)])
		err := s.Create(n, fillSome)
		if errors.Is(err, ErrExists) {
			return
		}
		if err != nil {
			t.Errorf("create: %v", err)
			return
		}
		if err := whole(s, n); err != nil {
			t.Errorf("created: %v", err)
		}
		if err := s.Remove(n); err != nil {
			t.Errorf("remove: %v", err)
		}
	}, func() {
		if err := s.Sweep(); err != nil {
			t.Errorf("sweep: %v", err)
		}
	})
	if i == 0 {
		t.Error("no rename came through")
	}
}

// Many processes want one name: one gets it.
func TestNameRaceProcesses(t *testing.T) {
	s := testStore(t)
	for round := range 3 {
		var outs []*lines
		for range 6 {
			_, out := play(t, s, "create", fmt.Sprint("web", round))
			outs = append(outs, out)
		}
		var winner string
		for _, o := range outs {
			switch l := o.next(); {
			case l == "taken":
			case isID(l) && winner == "":
				winner = l
			default:
				t.Fatalf("got %q (winner so far %q)", l, winner)
			}
		}
		r, err := s.Load(fmt.Sprint("web", round))
		if err != nil || r.ID != winner {
			t.Fatalf("load: got %v, %v, want %s", r, err, winner)
		}
	}
	if records, err := s.List(); err != nil || len(records) != 3 {
		t.Errorf("list: got %d, %v, want 3", len(records), err)
	}
}

// kill -9 of a process that creates, renames and removes, wherever it is: what
// is not there whole is gone after a sweep.
func TestKilled(t *testing.T) {
	s := testStore(t)
	kills := 30
	if testing.Short() {
		kills = 10
	}
	whole := 0
	for range kills {
		cmd, out := play(t, s, "churn", "web")
		if l := out.next(); l != "ready" {
			t.Fatalf("churn: %s", l)
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("churn ended by itself: %v: %s", err, out.next())
		}
		if err := s.Sweep(); err != nil {
			t.Fatal(err)
		}
		records, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			whole++
			if got, err := s.Load(r.Name); err != nil || got.ID != r.ID {
				t.Fatalf("container %s does not answer to its name: %v", r.Name, err)
			}
			if err := s.Remove(r); err != nil {
				t.Fatal(err)
			}
		}
		if left := tree(t, s); len(left) > 0 {
			t.Fatalf("left behind: %q", left)
		}
	}
	t.Logf("%d kills left %d containers", kills, whole)
}

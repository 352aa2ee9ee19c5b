package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// workers is how many containers are started at a time.
const workers = 8

// crowd starts many containers with each engine, in two halves: in between, what supervises them is weighed; then they
// are listed, and removed.
func crowd(ctx context.Context, b *bench) error {
	half := b.crowd / 2
	var starts, lists, removals []contender
	scales := map[string]*weight{}
	for _, e := range b.distinct() {
		defer command(context.WithoutCancel(ctx), e.removeAll...)
		w := &weight{}
		scales[e.name] = w
		starts = append(starts, contender{
			name:   e.name,
			before: func(int) error { w.systemd = pss("systemd")["systemd"]; return nil },
			do: func(int) error {
				g, ctx := errgroup.WithContext(ctx)
				g.SetLimit(workers)
				for range half {
					g.Go(func() error {
						return command(ctx, append(e.run("-d", "--network", "none"), image, "sleep", "1000")...)
					})
				}
				return g.Wait()
			},
			after: func(round int) error {
				if round > 0 || w.processes > 0 {
					return nil
				}
				return w.weigh(ctx, e)
			},
		})
		list := each(ctx, e.name, e.binary, "ps")
		list.before = func(round int) error {
			if round >= -1 {
				return nil
			}
			out, err := output(ctx, e.binary, "ps", "-q")
			if n := strings.Count(out, "\n"); err == nil && n != 2*half {
				err = fmt.Errorf("ps shows %d of %d containers", n, 2*half)
			}
			return err
		}
		lists = append(lists, list)
		removals = append(removals, each(ctx, e.name, e.removeAll...))
	}

	halves := b.race(ctx, 0, 2, starts)
	b.add(scalesTable(b, half, halves, scales))
	b.add(table{
		Row: "crowd", Title: fmt.Sprintf("ps with %d containers", 2*half), Unit: "ms", Ref: docker,
		Results: b.race(ctx, 2, b.rounds, lists), Bars: []bar{{Name: berth, Of: docker, Limit: 1}},
	})
	removed := b.race(ctx, 0, 1, removals)
	for i := range halves {
		halves[i].Samples = sum(halves[i].Samples)
	}
	for range b.crowds - 1 {
		for i, again := range b.race(ctx, 0, 2, starts) {
			halves[i].add(again.Error, sum(again.Samples))
		}
		for i, again := range b.race(ctx, 0, 1, removals) {
			removed[i].add(again.Error, again.Samples)
		}
	}
	b.add(table{
		Row: "crowd", Title: fmt.Sprintf("%d containers started, %d at a time", 2*half, workers), Unit: "ms", Ref: podman,
		Results: halves, Bars: []bar{{Name: berth, Of: podman, Limit: 0.4}},
	})
	b.add(table{
		Row: "crowd", Title: fmt.Sprintf("%d containers removed: rm -fa", 2*half), Unit: "ms", Ref: podman,
		Results: removed,
	})
	return nil
}

// add adds the samples of another race.
func (r *result) add(err string, samples []sample) {
	if r.Error == "" {
		r.Error = err
	}
	r.Samples = append(r.Samples, samples...)
}

// sum makes one sample of many.
func sum(samples []sample) []sample {
	if len(samples) == 0 {
		return nil
	}
	var s sample
	for _, v := range samples {
		s.Wall, s.CPU, s.Client = s.Wall+v.Wall, s.CPU+v.CPU, s.Client+v.Client
	}
	return []sample{s}
}

// weight is what containers cost in memory beside themselves, in kB of PSS.
type weight struct {
	supervisors, daemons int
	processes            int
	systemd              int // before, then its growth
}

// weigh is done when half of the crowd runs.
func (w *weight) weigh(ctx context.Context, e engine) error {
	select { // for what a start leaves to be done in the background
	case <-time.After(time.Second):
	case <-ctx.Done():
		return errors.New("no time left")
	}
	w.systemd = pss("systemd")["systemd"] - w.systemd
	all := pss(append(e.daemons, e.supervisor)...)
	w.supervisors, w.processes = all[e.supervisor], count(e.supervisor)
	for _, d := range e.daemons {
		w.daemons += all[d]
	}
	return nil
}

func scalesTable(b *bench, half int, starts []result, scales map[string]*weight) table {
	t := table{
		Row: "crowd", Title: fmt.Sprintf("supervisors' memory with %d containers, PSS per container", half), Unit: "MB",
		Ref: podman, Bars: []bar{{Name: berth, Limit: 2}},
	}
	for i, e := range b.distinct() {
		w := scales[e.name]
		r := result{Name: e.name, Error: starts[i].Error}
		if r.Error == "" && w.processes != half {
			r.Error = fmt.Sprintf("%d processes %s, not %d", w.processes, e.supervisor, half)
		}
		r.Value = float64(w.supervisors) / 1000 / float64(half)
		r.Note = fmt.Sprintf("%s; systemd grew by %.1f MB", e.supervisor, float64(w.systemd)/1000)
		if w.daemons > 0 {
			r.Note += fmt.Sprintf("; %s: %.0f MB more in all", strings.Join(e.daemons, " and "), float64(w.daemons)/1000)
		}
		t.Results = append(t.Results, r)
	}
	return t
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// foreground is the time from the command line to the status of a container that does nothing.
func foreground(ctx context.Context, b *bench, network string) error {
	var cs []contender
	for _, e := range b.engines {
		cs = append(cs, each(ctx, e.name, append(e.run("--rm", "--network", network), image, "true")...))
	}
	// Less than this cannot be had from systemd: a unit without a container.
	cs = append(cs, each(ctx, "systemd-run --wait true (floor)", "systemd-run", "--wait", "-q", "true"))
	t := table{
		Row: "run", Title: "run --rm --network " + network + " IMAGE true", Unit: "ms", Ref: podman,
		Results: b.race(ctx, 2, 3*b.rounds, cs), // a turn varies by a quarter
	}
	if network == "none" {
		t.Bars = []bar{{Name: berth, Of: podman, Limit: 0.35}}
	} else {
		t.Row = network
	}
	b.add(t)
	return nil
}

// start is how long a detached container takes until it runs, by its own word, and until the client is back.
func start(ctx context.Context, b *bench) error {
	door, err := newDoor(b.dir)
	if err != nil {
		return err
	}
	defer door.close()
	var cs []contender
	first := map[string][]sample{}
	for _, e := range b.engines {
		var begun time.Time
		var cpuBefore time.Duration
		cs = append(cs, contender{
			name:   e.name,
			before: func(int) error { begun, cpuBefore = time.Now(), boxCPU(); return nil },
			do: func(int) error {
				return command(ctx, append(e.run("-d", "--name", "started", "--network", "none", "-v", door.dir+":/door"),
					image, "sh", "-c", "echo >/door/bell; exec sleep 1000")...)
			},
			after: func(round int) error {
				rung, err := door.wait(ctx)
				if err == nil && round >= 0 {
					first[e.name] = append(first[e.name], sample{Wall: ms(rung.Sub(begun)), CPU: ms(boxCPU() - cpuBefore)})
				}
				return errors.Join(err, command(ctx, e.remove("started")...))
			},
		})
	}
	back := b.race(ctx, 1, b.rounds/2, cs)
	b.add(table{Row: "start", Title: "run -d: until the client is back", Unit: "ms", Ref: podman, Results: back})
	running := make([]result, len(back))
	for i, r := range back {
		running[i] = result{Name: r.Name, Error: r.Error, Samples: first[r.Name]}
	}
	b.add(table{Row: "start", Title: "run -d: until the container's first instruction", Unit: "ms", Ref: podman, Results: running})
	return nil
}

// remove is the command line that ends and removes one container, now.
func (e engine) remove(name string) []string {
	if e.binary == "docker" {
		return []string{"docker", "rm", "-f", name}
	}
	return []string{e.binary, "rm", "-f", "-t", "0", name}
}

// door is a directory with a fifo in it that a container rings as soon as it runs.
type door struct {
	dir  string
	bell *os.File
	rung chan time.Time
}

func newDoor(dir string) (*door, error) {
	d := &door{dir: filepath.Join(dir, "door"), rung: make(chan time.Time, 16)}
	if err := os.RemoveAll(d.dir); err != nil {
		return nil, err
	}
	path := filepath.Join(d.dir, "bell")
	if err := errors.Join(os.Mkdir(d.dir, 0o755), unix.Mkfifo(path, 0o666)); err != nil {
		return nil, err
	}
	// For writing too: a fifo without a writer is at its end.
	bell, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	d.bell = bell
	go func() {
		defer close(d.rung)
		buf := make([]byte, 1)
		for {
			if _, err := bell.Read(buf); err != nil {
				return
			}
			d.rung <- time.Now()
		}
	}()
	return d, nil
}

// close ends the reader and waits for it.
func (d *door) close() {
	d.bell.Close()
	for range d.rung {
	}
}

func (d *door) wait(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case t := <-d.rung:
		return t, nil
	case <-ctx.Done():
		return time.Time{}, errors.New("the container did not run")
	}
}

// execs is a command that does nothing in a container that runs.
func execs(ctx context.Context, b *bench) error {
	var cs []contender
	for _, e := range b.engines {
		name := "exec-" + strings.Trim(e.binary+"-"+e.runtime, "-")
		defer command(context.WithoutCancel(ctx), e.remove(name)...)
		c := each(ctx, e.name, e.binary, "exec", name, "true")
		if err := command(ctx, append(e.run("-d", "--name", name, "--network", "none"), image, "sleep", "1000")...); err != nil {
			c.before = func(int) error { return fmt.Errorf("start: %w", err) }
		}
		cs = append(cs, c)
	}
	b.add(table{
		Row: "exec", Title: "exec CONTAINER true", Unit: "ms", Ref: docker, Results: b.race(ctx, 2, b.rounds, cs),
		Bars: []bar{{Name: berth, Of: docker, Limit: 0.5}},
	})
	return nil
}

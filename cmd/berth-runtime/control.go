package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// freezeTimeout bounds the wait for processes to freeze: one in a system call
// that cannot be interrupted holds it up.
const freezeTimeout = 10 * time.Second

func pause(ctx context.Context, g *global, args []string) error {
	c, err := open(g, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	return c.Pause(ctx)
}

func resume(ctx context.Context, g *global, args []string) error {
	c, err := open(g, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	return c.Resume(ctx)
}

// ps shows the container's processes: of ps(1)'s lines those with their pids.
func ps(ctx context.Context, g *global, args []string) error {
	format := "table"
	f := newFlags()
	f.str(&format, "format", "f")
	args, err := f.parse(args) // what follows the ID is ps's
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return usageError{errors.New("requires a container's ID")}
	}
	c, err := runtime.Open(g.root, args[0])
	if err != nil {
		return err
	}
	pids, err := c.Processes()
	if err != nil {
		return err
	}
	switch format {
	case "json":
		if pids == nil {
			pids = []int{}
		}
		return json.NewEncoder(os.Stdout).Encode(pids)
	case "table":
	default:
		return fmt.Errorf("invalid format option %q", format)
	}
	args = args[1:]
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.CommandContext(ctx, "ps", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	table, err := linesOf(string(out), pids)
	if err != nil {
		return err
	}
	fmt.Print(table)
	return nil
}

// linesOf keeps the heading of a table of ps and the lines of the pids.
func linesOf(table string, pids []int) (string, error) {
	var b strings.Builder
	column := -1
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if column < 0 {
			if column = slices.Index(fields, "PID"); column < 0 {
				return "", errors.New("output of ps: no column PID")
			}
			b.WriteString(line)
			continue
		}
		if len(fields) <= column {
			continue
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return "", fmt.Errorf("output of ps: %w", err)
		}
		if slices.Contains(pids, pid) {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

// event is a line of the verb events.
type event struct {
	Type string         `json:"type"`
	ID   string         `json:"id"`
	Data *runtime.Stats `json:"data,omitempty"`
}

// events prints the container's statistics now and then, and each time that the
// kernel killed for want of memory, until the container ends.
func events(_ context.Context, g *global, args []string) error {
	interval, once := 5*time.Second, false
	f := newFlags()
	f.flag(&once, "stats")
	f.fn(func(v string) (err error) {
		interval, err = time.ParseDuration(v)
		return err
	}, "interval")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	if interval <= 0 {
		return errors.New("duration interval must be greater than 0")
	}
	c, err := runtime.Open(g.root, id)
	if err != nil {
		return err
	}
	if c.Status() == specs.StateStopped {
		return fmt.Errorf("container with id %s is not running", id)
	}
	lines := make(chan event)
	stats := func() error {
		s, err := c.Stats()
		if err == nil {
			lines <- event{"stats", id, s}
		}
		return err
	}
	done := make(chan error, 1)
	if once {
		go func() { done <- stats() }()
	} else {
		ended := make(chan struct{})
		go func() {
			err := c.WatchOOM(func() { lines <- event{"oom", id, nil} })
			close(ended)
			done <- err
		}()
		go func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					stats() //nolint:errcheck // the container may have ended this moment
				}
			}
		}()
	}
	out := json.NewEncoder(os.Stdout)
	for {
		select {
		case e := <-lines:
			if err := out.Encode(e); err != nil {
				return err
			}
		case err := <-done:
			return err
		}
	}
}

func showFeatures(_ context.Context, _ *global, args []string) error {
	args, err := newFlags().parseAll(args)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return usageError{errors.New("takes no arguments")}
	}
	f := runtime.Features()
	f.Annotations = map[string]string{"run.berth.version": version}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "    ")
	return out.Encode(f)
}

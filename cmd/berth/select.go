package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

// container returns the one container that a verb is called for.
func (c *call) container() (string, error) {
	list, err := c.containers()
	if err != nil {
		return "", err
	}
	if len(list) != 1 {
		return "", usagef("one container is needed, not %d", len(list))
	}
	return list[0], nil
}

// containers returns those that a verb is called for: the names as they were
// given, those in --cidfile, or the IDs that --all, --latest and --filter
// select. Flags that the verb does not have count as not given.
func (c *call) containers() ([]string, error) {
	return c.selection(c.flags.Bool("all"), nil)
}

// selection is containers; of those that flags select only the ones that keep
// holds for.
func (c *call) selection(all bool, keep func(*engine.Summary) bool) ([]string, error) {
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	latest, filters := c.flags.Bool("latest"), c.flags.StringSlice("filter")
	names := c.args
	for _, path := range c.flags.StringSlice("cidfile") {
		id, err := readCIDFile(path)
		switch {
		case err == nil:
			names = append(names, id)
		case !c.flags.Bool("ignore") || !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("--cidfile: %w", err)
		}
	}
	byFlag := all || latest || len(filters) > 0
	switch {
	case byFlag && len(names) > 0:
		return nil, usagef("names exclude --all, --latest and --filter")
	case all && latest:
		return nil, usagef("--all and --latest exclude each other")
	case !byFlag && len(names) == 0 && len(c.flags.StringSlice("cidfile")) > 0:
		return nil, nil // with --ignore
	case !byFlag && len(names) == 0:
		return nil, usagef("CONTAINER is missing: want a name or an ID")
	case !byFlag:
		return names, nil
	}
	found, err := engine.Find(c.ctx, h, nil, all, latest, filters)
	if err != nil {
		return nil, err
	}
	if latest && len(found) == 0 {
		return nil, errors.New("--latest: there is no container")
	}
	var ids []string
	for i := range found {
		if s := &found[i]; latest || keep == nil || keep(s) {
			ids = append(ids, s.Record.ID)
		}
	}
	return ids, nil
}

func readCIDFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	if id == "" {
		return "", fmt.Errorf("%s: no container ID in it", path)
	}
	return id, nil
}

// atOnce is how many containers a verb works on at a time: they wait for
// systemd and for their processes, not for a CPU.
const atOnce = 32

// errNothing: there was nothing to do and there is nothing to print. It is no
// failure.
var errNothing = errors.New("nothing to do")

// each does f for every container and prints the names of those it succeeded
// for, in order. One that fails does not keep the others from their turn; what
// went wrong is returned together.
func (c *call) each(names []string, f func(name string) error) error {
	return c.eachPrint(names, f, c.println)
}

// eachPrint is each with a choice of what to print.
func (c *call) eachPrint(names []string, f func(name string) error, print func(name string)) error {
	results := make([]error, len(names))
	done := make([]chan struct{}, len(names))
	slots := make(chan struct{}, atOnce)
	if len(names) > 1 {
		defer c.host.Hold()()
	}
	var group sync.WaitGroup
	defer group.Wait()
	for i := range names {
		done[i] = make(chan struct{})
	}
	group.Go(func() {
		for i, name := range names {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { close(done[i]); <-slots }()
				results[i] = f(name)
			})
		}
	})
	var errs failures
	for i, name := range names {
		<-done[i]
		if errors.Is(results[i], errNothing) {
			continue
		}
		if results[i] == nil {
			print(name)
			c.out.Flush() // a long wait may follow; a failure shows at the last one
			continue
		}
		errs = append(errs, results[i])
		if errors.Is(results[i], context.Canceled) {
			return results[i]
		}
	}
	return errs.err()
}

// err is nil where there is none.
func (f failures) err() error {
	switch len(f) {
	case 0:
		return nil
	case 1:
		return f[0]
	}
	return f
}

// running says whether there is something to stop.
func running(s *engine.Summary) bool {
	switch s.State {
	case container.Created, container.Exited:
		return false
	}
	return true
}

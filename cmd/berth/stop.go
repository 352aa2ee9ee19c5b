package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

func cidfileFlag() cli.Flag {
	return strs("cidfile", "the container whose ID is in a file", "FILE")
}

func ignoreFlag() cli.Flag {
	return boolean("ignore i", "a container that is not there is no failure")
}

func stopVerb() *verb {
	return &verb{
		top: "stop", container: "stop", group: "Containers",
		args: "CONTAINER...", max: -1,
		short: "Stop containers",
		long: `
Sends the container's stop signal, and SIGKILL when its time to stop is over.
Prints what was stopped. systemctl stop berth-NAME does the same.`,
		examples: `
berth stop web
berth stop -t 2 --all`,
		flags: func() []cli.Flag {
			return []cli.Flag{boolean("all a", "every container that runs"), cidfileFlag(), filterFlag(), ignoreFlag(), latestFlag(), timeFlag()}
		},
		run: func(c *call) error {
			timeout, err := c.timeout()
			if err != nil {
				return err
			}
			list, err := c.selection(c.flags.Bool("all"), running)
			if err != nil {
				return err
			}
			return c.each(list, func(name string) error {
				return c.ignoring(engine.Stop(c.ctx, c.host, name, timeout))
			})
		},
	}
}

// ignoring drops what --ignore says is no failure.
func (c *call) ignoring(err error) error {
	if c.flags.Bool("ignore") && errors.Is(err, container.ErrNotExist) {
		return errNothing
	}
	return err
}

// timeout is --time; nil where it was not given.
func (c *call) timeout() (*time.Duration, error) {
	if !c.flags.IsSet("time") {
		return nil, nil
	}
	d, err := parseSeconds(c.flags.String("time"))
	if err != nil {
		return nil, usagef("--time %q: want %w", c.flags.String("time"), err)
	}
	return &d, nil
}

func restartVerb() *verb {
	return &verb{
		top: "restart", container: "restart", group: "Containers",
		args: "CONTAINER...", max: -1,
		short:    "Stop containers and start them again",
		examples: `berth restart -t 2 web`,
		flags: func() []cli.Flag {
			return []cli.Flag{boolean("all a", "every container"), cidfileFlag(), filterFlag(), latestFlag(),
				boolean("running", "every container that runs"), timeFlag()}
		},
		run: func(c *call) error {
			timeout, err := c.timeout()
			if err != nil {
				return err
			}
			var keep func(*engine.Summary) bool
			if c.flags.Bool("running") {
				keep = running
			}
			list, err := c.selection(c.flags.Bool("all") || c.flags.Bool("running"), keep)
			if err != nil {
				return err
			}
			return c.each(list, func(name string) error {
				return engine.Restart(c.ctx, c.host, name, timeout)
			})
		},
	}
}

func killVerb() *verb {
	return &verb{
		top: "kill", container: "kill", group: "Containers",
		args: "CONTAINER...", max: -1,
		short:    "Send a signal to the main process of containers",
		examples: `berth kill -s HUP web`,
		flags: func() []cli.Flag {
			return []cli.Flag{boolean("all a", "every container that runs"), cidfileFlag(), latestFlag(),
				str("signal s", "the signal, by name or number (default KILL)", "SIGNAL")}
		},
		run: func(c *call) error {
			sig := syscall.SIGKILL
			if c.flags.IsSet("signal") {
				var err error
				if sig, err = parseSignal(c.flags.String("signal")); err != nil {
					return usagef("--signal %q: want %w", c.flags.String("signal"), err)
				}
			}
			list, err := c.selection(c.flags.Bool("all"), running)
			if err != nil {
				return err
			}
			return c.each(list, func(name string) error {
				return engine.Kill(c.ctx, c.host, name, sig)
			})
		},
	}
}

func rmVerb() *verb {
	return &verb{
		top: "rm", container: "rm", group: "Containers",
		args: "CONTAINER...", max: -1,
		short: "Remove containers",
		long: `
Prints what was removed. Ends with 1 where a container is not there, and with 2
where one runs: stop it first, or use --force.`,
		examples: `
berth rm web
berth rm -f -t 0 web db
berth rm -a --filter status=exited`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				boolean("all a", "every container"),
				cidfileFlag(),
				filterFlag(),
				boolean("force f", "stop what runs first; what is not there is no failure"),
				ignoreFlag(),
				latestFlag(),
				timeFlag(),
				accepted(boolean("volumes v", "there are no anonymous volumes yet")),
				accepted(boolean("depend", "no container depends on another yet")),
			}
		},
		run: runRm,
	}
}

func runRm(c *call) error {
	timeout, err := c.timeout()
	if err != nil {
		return err
	}
	force := c.flags.Bool("force")
	if timeout != nil && !force {
		return usagef("--time needs --force")
	}
	list, err := c.containers()
	if force && c.flags.Bool("all") && len(c.flags.StringSlice("filter")) == 0 {
		list, err = c.withDamaged(list, err)
	}
	if err != nil {
		return err
	}
	return c.each(list, func(name string) error {
		_, err := engine.Remove(c.ctx, c.host, name, engine.RemoveOptions{Force: force, Timeout: timeout})
		switch {
		case errors.Is(err, container.ErrNotExist) && force:
			return errNothing
		case errors.Is(err, container.ErrNotExist):
			err = &codedError{1, err}
		case errors.Is(err, container.ErrInUse):
			err = &codedError{2, err}
		}
		return c.ignoring(err)
	})
}

// withDamaged adds to a list of all containers, which err may have kept short,
// those of which not enough can be read to be listed.
func (c *call) withDamaged(list []string, err error) ([]string, error) {
	if err != nil && !errors.Is(err, container.ErrDamaged) {
		return nil, err
	}
	damaged, err := c.host.Containers.Damaged()
	for _, id := range damaged {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list, err
}

func renameVerb() *verb {
	return &verb{
		top: "rename", container: "rename", group: "Containers",
		args: "CONTAINER NAME", min: 2, max: 2,
		short:    "Give a container another name",
		long:     `The unit it runs in keeps its own name until the next start.`,
		examples: `berth rename web web-old`,
		run: func(c *call) error {
			h, err := c.open()
			if err != nil {
				return err
			}
			if _, err := parseName(c.args[1]); err != nil {
				return usagef("name %q: want %w", c.args[1], err)
			}
			return engine.Rename(c.ctx, h, c.args[0], c.args[1])
		},
	}
}

func waitVerb() *verb {
	return &verb{
		top: "wait", container: "wait", group: "Containers",
		args: "CONTAINER...", max: -1,
		short: "Wait for containers to end and print their exit codes",
		long: `
Prints the exit code of each, "unknown" where nobody was there to see it end.`,
		examples: `berth wait job`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				str("condition", "wait for it to be stopped (default), exited or running", "STATE"),
				ignoreFlag(),
				accepted(str("interval", "nothing is asked again and again", "DURATION")),
				latestFlag(),
			}
		},
		run: runWait,
	}
}

func runWait(c *call) error {
	list, err := c.containers()
	if err != nil {
		return err
	}
	var codes sync.Map // name → exit code as text
	return c.eachPrint(list, func(name string) error {
		exit, err := engine.Wait(c.ctx, c.host, name, c.flags.String("condition"))
		if c.ignoring(err) == errNothing {
			codes.Store(name, "-1") // as podman-wait(1) marks what is not there
			return nil
		}
		if err != nil {
			return err
		}
		codes.Store(name, exitText(exit))
		return nil
	}, func(name string) {
		if code, ok := codes.Load(name); ok {
			c.println(code.(string))
		}
	})
}

// exitText is an exit code as a user reads it.
func exitText(exit *container.Exit) string {
	if exit == nil || exit.Code == nil {
		return "unknown"
	}
	return fmt.Sprint(*exit.Code)
}

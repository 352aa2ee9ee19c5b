package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

func startVerb() *verb {
	return &verb{
		top: "start", container: "start", group: "Containers",
		args: "CONTAINER...", max: -1,
		short: "Start containers that do not run",
		long: `
Prints what was started. With --attach berth stays in the foreground and ends with
the container's exit code, as berth run does.`,
		examples: `
berth start web
berth start -ai job
berth start --all --filter label=tier=front`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				boolean("all", "every container"),
				boolean("attach a", "stay in the foreground, attached to the output"),
				detachKeysFlag(),
				filterFlag(),
				boolean("interactive i", "attach standard input too"),
				latestFlag(),
				booleanOn("sig-proxy", "hand signals on to the command, unless it has a terminal"),
			}
		},
		run: runStart,
	}
}

func runStart(c *call) error {
	if c.flags.Bool("attach") || c.flags.Bool("interactive") {
		return startAttached(c)
	}
	list, err := c.containers()
	if err != nil {
		return err
	}
	return c.each(list, func(name string) error {
		_, err := engine.Start(c.ctx, c.host, name, nil)
		if errors.Is(err, container.ErrInUse) {
			return nil // it runs
		}
		return err
	})
}

func startAttached(c *call) error {
	keys, err := c.detachKeys()
	if err != nil {
		return err
	}
	list, err := c.containers()
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return usagef("--attach needs one container, not %d", len(list))
	}
	in := c.flags.Bool("interactive")
	signals := expectSignals()
	s, err := engine.Start(c.ctx, c.host, list[0], &engine.AttachOptions{Stdin: in, Stdout: true, Stderr: true, StdinOnce: in})
	if err != nil {
		return err
	}
	return c.foreground(s, signals, keys)
}

func attachVerb() *verb {
	return &verb{
		top: "attach", container: "attach", group: "Containers",
		args: "CONTAINER", max: 1,
		short: "Attach to a running container",
		long: `
Shows its output from now on and hands it what is typed, until it ends or the
detach keys are typed.`,
		examples: `berth attach --no-stdin web`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				detachKeysFlag(),
				latestFlag(),
				boolean("no-stdin", "do not attach standard input"),
				booleanOn("sig-proxy", "hand signals on to the command, unless it has a terminal"),
			}
		},
		run: func(c *call) error {
			keys, err := c.detachKeys()
			if err != nil {
				return err
			}
			name, err := c.container()
			if err != nil {
				return err
			}
			signals := expectSignals()
			s, err := engine.Attach(c.ctx, c.host, name, engine.AttachOptions{Stdin: !c.flags.Bool("no-stdin"), Stdout: true, Stderr: true})
			if err != nil {
				return err
			}
			return c.foreground(s, signals, keys)
		},
	}
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
)

func containerPruneVerb() *verb {
	return &verb{
		container: "prune",
		short:     "Remove all containers that do not run",
		flags: func() []cli.Flag {
			return []cli.Flag{filterFlag(), boolean("force f", "do not ask")}
		},
		run: func(c *call) error {
			if ok, err := c.confirm("This removes every container that does not run."); !ok {
				return err
			}
			list, err := c.selection(true, func(s *engine.Summary) bool { return !running(s) })
			if err != nil {
				return err
			}
			return c.each(list, func(name string) error {
				_, err := engine.Remove(c.ctx, c.host, name, engine.RemoveOptions{})
				return err
			})
		},
	}
}

func containerExistsVerb() *verb {
	return &verb{
		container: "exists", args: "CONTAINER", min: 1, max: 1,
		short: "End with 0 if a container is there, with 1 if not",
		run: func(c *call) error {
			h, err := c.open()
			if err != nil {
				return err
			}
			_, err = h.Containers.Load(c.args[0])
			return existence(err, container.ErrNotExist)
		},
	}
}

// confirm asks on the terminal unless --force was given.
func (c *call) confirm(what string) (bool, error) {
	if c.flags.Bool("force") {
		return true, nil
	}
	if !isTerminal(c.std.in) {
		return false, usagef("--force is needed where nobody can be asked")
	}
	fmt.Fprintf(c.out, "%s Continue? [y/N] ", what)
	if err := c.out.Flush(); err != nil {
		return false, outputError(err)
	}
	answer, _ := bufio.NewReader(c.std.in).ReadString('\n') // no answer is no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

func imageExistsVerb() *verb {
	return &verb{
		image: "exists", args: "IMAGE", min: 1, max: 1,
		short: "End with 0 if an image is there, with 1 if not",
		run: func(c *call) error {
			store, err := c.images()
			if err != nil {
				return err
			}
			_, err = store.Resolve(c.args[0])
			return existence(err, image.ErrNotExist)
		},
	}
}

// existence is the answer of exists: the exit code says it all.
func existence(err, notExist error) error {
	if errors.Is(err, notExist) {
		return status(1)
	}
	return err
}

func imagePruneVerb() *verb {
	return &verb{
		image: "prune",
		short: "Remove images without a name, with --all every unused one",
		flags: func() []cli.Flag {
			return []cli.Flag{boolean("all a", "every image that no container was made from"), boolean("force f", "do not ask")}
		},
		run: runImagePrune,
	}
}

func runImagePrune(c *call) error {
	all := c.flags.Bool("all")
	what := "This removes every image without a name."
	if all {
		what = "This removes every image that no container was made from."
	}
	if ok, err := c.confirm(what); !ok {
		return err
	}
	store, err := c.images()
	if err != nil {
		return err
	}
	list, damaged := store.List()
	var errs failures
	for _, img := range list {
		if !all && len(img.Names) > 0 {
			continue
		}
		if users, err := c.host.Containers.ImageUsers(img.ID.String()); err != nil {
			return err
		} else if len(users) > 0 {
			continue
		}
		for _, name := range append(img.Names, img.ID.String()) {
			_, err := engine.RemoveImage(c.ctx, c.host, name, false)
			if err != nil && !errors.Is(err, image.ErrNotExist) && !errors.Is(err, image.ErrInUse) {
				errs = append(errs, err)
			}
		}
		c.println(img.ID.Encoded())
	}
	if damaged != nil {
		errs = append(errs, damaged)
	}
	if err := store.Collect(c.ctx); err != nil {
		errs = append(errs, err)
	}
	return errs.err()
}

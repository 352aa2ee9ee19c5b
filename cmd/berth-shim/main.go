//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command berth-shim supervises one container. It is ExecStart= of the
// container's unit and not meant to be called by hand.
//
//	berth-shim [--root DIR] [--run DIR] NAME-OR-ID
//	berth-shim sweep [--root DIR] [--run DIR] NAME-OR-ID [UNIT-CGROUP]
//	berth-shim --release
//
// sweep clears up after a supervisor that was killed and is not started again.
// --release is ExecStopPost= on systemd before 254: it makes the unit's cgroup one
// that a restarted supervisor can be put into.
package main

import (
	"errors"
	"os"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/shim"
)

const usage = `usage: berth-shim [--root DIR] [--run DIR] NAME-OR-ID
       berth-shim sweep [--root DIR] [--run DIR] NAME-OR-ID [UNIT-CGROUP]
       berth-shim --release
`

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--release" {
		if err := shim.Release(); err != nil {
			os.Stderr.WriteString("berth-shim: " + err.Error() + "\n")
			os.Exit(container.ExitBerth)
		}
		return
	}
	c, ok := parse(os.Args[1:])
	if !ok {
		os.Stderr.WriteString(usage)
		os.Exit(container.ExitBerth)
	}
	code, err := c.run()
	if err != nil {
		os.Stderr.WriteString("berth-shim: " + c.Container + ": " + err.Error() + "\n")
	}
	os.Exit(code)
}

type command struct {
	shim.Config
	sweep  bool
	cgroup string // of the unit to sweep
}

func (c command) run() (int, error) {
	if !c.sweep {
		return shim.Run(c.Config)
	}
	store := container.Open(c.Root, c.Run)
	rec, err := store.Load(c.Container)
	if errors.Is(err, container.ErrNotExist) {
		return 0, nil // removed meanwhile
	}
	if err == nil {
		_, err = shim.Sweep(store, rec, c.cgroup)
	}
	if errors.Is(err, container.ErrInUse) {
		return 0, nil // a supervisor lives: it is its business
	}
	if err != nil {
		shim.Report(rec, err.Error()) // standard error of the unit is /dev/null
		return container.ExitBerth, err
	}
	return 0, nil
}

// parse is by hand: package flag would be a tenth of the program's start.
func parse(args []string) (command, bool) {
	c := command{Config: shim.Config{Root: container.DefaultRoot, Run: container.DefaultRun}}
	if len(args) > 0 && args[0] == "sweep" && len(args) > 1 {
		c.sweep, args = true, args[1:]
	}
	for len(args) > 2 && args[0] != "" && args[0][0] == '-' {
		switch args[0] {
		case "--root":
			c.Root = args[1]
		case "--run":
			c.Config.Run = args[1]
		default:
			return c, false
		}
		args = args[2:]
	}
	if c.sweep && len(args) == 2 {
		c.cgroup, args = args[1], args[:1]
	}
	if len(args) != 1 || args[0] == "" || args[0][0] == '-' {
		return c, false
	}
	c.Container = args[0]
	return c, true
}

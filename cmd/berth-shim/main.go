// Command berth-shim supervises one container. It is ExecStart= of the
// container's unit and not meant to be called by hand.
//
//	berth-shim [--root DIR] [--run DIR] NAME-OR-ID
package main

import (
	"os"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/shim"
)

const usage = "usage: berth-shim [--root DIR] [--run DIR] NAME-OR-ID\n"

func main() {
	c, ok := parse(os.Args[1:])
	if !ok {
		os.Stderr.WriteString(usage)
		os.Exit(container.ExitBerth)
	}
	code, err := shim.Run(c)
	if err != nil {
		os.Stderr.WriteString("berth-shim: " + c.Container + ": " + err.Error() + "\n")
	}
	os.Exit(code)
}

// parse is by hand: package flag would be a tenth of the program's start.
func parse(args []string) (shim.Config, bool) {
	c := shim.Config{Root: container.DefaultRoot, Run: container.DefaultRun}
	for len(args) > 2 {
		switch args[0] {
		case "--root":
			c.Root = args[1]
		case "--run":
			c.Run = args[1]
		default:
			return c, false
		}
		args = args[2:]
	}
	if len(args) != 1 || args[0] == "" || args[0][0] == '-' {
		return c, false
	}
	c.Container = args[0]
	return c, true
}

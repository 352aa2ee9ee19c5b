package main

import (
	"context"
	"os"
	"slices"

	"github.com/berthrun/berth/engine"
)

func main() { os.Exit(run(os.Args)) }

// startsContainer says, before anything is parsed, whether this command line
// will most likely start a container. A wrong guess costs nothing.
func startsContainer(args []string) bool {
	return slices.ContainsFunc(args[:min(len(args), 2)], func(a string) bool {
		return a == "run" || a == "start" || a == "restart"
	})
}

// run is main with a result, so that deferred work is done before the exit.
func run(args []string) int {
	ctx, release := interruptible(context.Background())
	if startsContainer(args[1:]) {
		go engine.WarmUp()
	}
	a := newApp(stdio{os.Stdin, os.Stdout, os.Stderr})
	a.release = release
	err := a.run(ctx, args[1:])
	if flushErr := a.out.Flush(); err == nil && flushErr != nil {
		err = outputError(flushErr)
	}
	return report(os.Stderr, interrupted(ctx, err))
}

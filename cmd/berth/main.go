package main

import (
	"context"
	"os"
	"runtime"

	_ "github.com/berthrun/berth/internal/warm/early" // for what it does first
)

func main() { os.Exit(run(os.Args)) }

// run is main with a result, so that deferred work is done before the exit.
func run(args []string) int {
	// What most verbs have to do is a few milliseconds' work, of which threads
	// that wake each other would be a fifth.
	runtime.GOMAXPROCS(1)
	ctx, release := interruptible(context.Background())
	a := newApp(stdio{os.Stdin, os.Stdout, os.Stderr})
	a.release = release
	err := a.run(ctx, args[1:])
	if flushErr := a.out.Flush(); err == nil && flushErr != nil {
		err = outputError(flushErr)
	}
	return report(os.Stderr, interrupted(ctx, err))
}

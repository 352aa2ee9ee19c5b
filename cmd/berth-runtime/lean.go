//go:build lean

package main

import (
	"context"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// whole says whether this is the whole program: see whole.go.
const whole = false

// wholeVerb is the verb of this name if it needs the whole program.
func wholeVerb(name string) verb {
	switch name {
	case "checkpoint", "restore":
		return inWhole
	}
	return nil
}

// inWhole is a verb that only the whole program has.
func inWhole(context.Context, *global, []string) error { return becomeWhole() }

// The parts that speak to systemd: scope.go.

func placeBySystemd(opt *runtime.CreateOptions) error {
	if inOwnUnit() {
		opt.Delegated = true
		return nil
	}
	return becomeWhole()
}

func stopUnit(context.Context, string) error { return becomeWhole() }

func updateUnit(context.Context, *runtime.Container, *specs.LinuxResources) error {
	return becomeWhole()
}

//go:build !lean

package main

import (
	"context"

	"github.com/berthrun/berth/runtime"
)

func checkpoint(context.Context, *global, []string) error {
	return &runtime.UnsupportedError{Feature: "checkpoint"}
}

func restore(context.Context, *global, []string) error {
	return &runtime.UnsupportedError{Feature: "restore"}
}

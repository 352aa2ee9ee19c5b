package main

import (
	"context"

	"github.com/berthrun/berth/runtime"
)

func attend(c *runtime.Child) (int, error) { return c.Wait() }

func execProcess(context.Context, *global, []string) error { return nil }

func spec(context.Context, *global, []string) error { return nil }

package main

import (
	"context"
	"fmt"
)

// pull fetches and unpacks a big image into a store that has nothing of it.
func pull(ctx context.Context, b *bench) error {
	var cs []contender
	for _, e := range b.distinct() {
		c := each(ctx, e.name, e.binary, "pull", "-q", bigImage)
		c.after = func(int) error { return command(ctx, e.binary, "rmi", bigImage) }
		cs = append(cs, c)
	}
	warm := 1
	if b.pulls == 1 {
		warm = 0
	}
	b.add(table{
		Row: "pull", Title: fmt.Sprintf("pull and unpack 300 MB (%s)", bigImage), Unit: "ms", Ref: podman,
		Results: b.race(ctx, warm, b.pulls, cs), Bars: []bar{{Name: berth, Of: podman, Limit: 1}},
	})
	return nil
}

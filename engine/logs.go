package engine

import (
	"context"
	"path/filepath"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/logs"
)

// Logs gives f the log of a container, by whichever door its runs were
// started. With o.Follow it goes on until the container ends.
func Logs(ctx context.Context, h *Host, name string, o logs.Options, f func(logs.Entry) error) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	if o.Follow {
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = waitExit(ctx, h, r) // however it ended: it has ended
			close(done)
		}()
		defer func() { cancel(); <-ended }()
		o.Done = done
	}
	src := logs.Source{Driver: r.Log.Driver, ID: r.ID, Path: filepath.Join(h.Containers.Dir(r.ID), container.LogFile)}
	return logs.Read(ctx, src, o, f)
}

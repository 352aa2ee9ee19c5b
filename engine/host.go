package engine

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/berthrun/berth/config"
	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/image"
	"github.com/berthrun/berth/unit"
)

// Host is what the verbs work on: this machine's configuration, stores and
// systemd.
type Host struct {
	Config     *config.Config
	Containers *container.Store

	mu     sync.Mutex // guards what follows
	images *image.Store
	conn   *unit.Conn
}

// Open makes a Host. It touches nothing: stores are opened and systemd is
// called when a verb needs them.
func Open(cfg *config.Config) (*Host, error) {
	return &Host{Config: cfg, Containers: container.Open(cfg.Root, cfg.Run)}, nil
}

// Close ends the connection to systemd.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		return nil
	}
	err := h.conn.Close()
	h.conn = nil
	return err
}

// Units is the connection to systemd, made at the first call.
func (h *Host) Units(ctx context.Context) (*unit.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		return h.conn, nil
	}
	conn, err := unit.Dial(ctx)
	if err != nil {
		return nil, err
	}
	h.conn = conn
	return conn, nil
}

// Images is the image store, opened at the first call.
func (h *Host) Images() (*image.Store, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.images != nil {
		return h.images, nil
	}
	store, err := image.Open(filepath.Join(h.Config.Root, "images"), nil)
	if err != nil {
		return nil, err
	}
	h.images = store
	return store, nil
}

func (h *Host) libexec(name string) string { return filepath.Join(h.Config.Libexec, name) }

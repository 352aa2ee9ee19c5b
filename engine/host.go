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
	shared int // how many hold the connection
}

// Open makes a Host. It touches nothing: stores are opened and systemd is
// called when a verb needs them.
func Open(cfg *config.Config) (*Host, error) {
	return &Host{Config: cfg, Containers: container.Open(cfg.Root, cfg.Run)}, nil
}

// Hold keeps the connection to systemd until release. A verb that has no
// further use for it ends it, so who runs several at once holds it for them.
func (h *Host) Hold() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shared++
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.shared--
	})
}

// Close ends the connection to systemd, unless somebody holds it. The next call
// of Units makes another one.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil || h.shared > 0 {
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

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/ocijson"
)

// Up is the engine's work before each start of a container that needs any: the
// AppArmor profile is loaded, and the namespaces and files that it shares with
// other containers (Record.Up) are those of their current runs.
func Up(ctx context.Context, h *Host, name string) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	if err := loadAppArmor(ctx, h, r); err != nil {
		return err
	}
	join, err := joinPaths(h, &r.Spec)
	if err != nil || len(join) == 0 {
		return err
	}
	path := filepath.Join(h.Containers.Dir(r.ID), container.ConfigFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("start container %s: %w", r.Name, err)
	}
	var config specs.Spec
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for i := range config.Linux.Namespaces {
		n := &config.Linux.Namespaces[i]
		if p, ok := join[n.Type]; ok {
			n.Path = p
		}
	}
	net, err := sharedNetwork(h, &r.Spec)
	if err != nil {
		return err
	}
	for i := range config.Mounts {
		m := &config.Mounts[i]
		// Ours, and not what a user mounts there.
		if name := filepath.Base(m.Source); net != "" && filepath.Dir(filepath.Dir(m.Source)) == filepath.Dir(net) &&
			(name == container.HostsFile || name == container.ResolvFile) {
			m.Source = filepath.Join(net, name)
		}
	}
	if data, err = ocijson.Encode(&config); err != nil {
		return err
	}
	return container.WriteFile(path, data, 0o600, false)
}

// Down is the engine's work after a run whose shim was killed and will not be
// started again: to end what it left.
func Down(_ context.Context, h *Host, name string) error {
	r, err := h.Containers.Load(name)
	if errors.Is(err, container.ErrNotExist) {
		return nil // --rm
	}
	if err != nil {
		return err
	}
	return sweep(h, r)
}

// ErrElsewhere: the container runs in another unit than the one to be started.
var ErrElsewhere = errors.New("runs already")

// Condition is ExecCondition= of container@.service: a container runs in one
// place at a time. The error says where it runs.
func Condition(ctx context.Context, h *Host, name string) error {
	r, err := h.Containers.Load(name)
	if err != nil {
		return err
	}
	p, err := where(ctx, h, r)
	if err != nil {
		return err
	}
	if strings.HasPrefix(p.unit, "berth-") && p.status.Active != "" {
		return fmt.Errorf("container %s %w, as %s", r.Name, ErrElsewhere, p.unit)
	}
	return nil
}

// WriteDropIns writes the settings of every container below dir, for the boot:
// a unit directory below /run does not outlive one.
func WriteDropIns(h *Host, dir string) error {
	records, err := h.Containers.List()
	for _, r := range records {
		if !r.AutoRemove {
			err = errors.Join(err, WriteDropIn(dir, r))
		}
	}
	return err
}

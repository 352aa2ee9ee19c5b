package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// spec writes a config.json to begin with.
func spec(_ context.Context, _ *global, args []string) error {
	bundle, rootless := ".", false
	f := newFlags()
	f.str(&bundle, "bundle", "b")
	f.flag(&rootless, "rootless")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return usageError{errors.New("takes no arguments")}
	}
	config := runtime.DefaultSpec()
	if rootless {
		makeRootless(config, os.Geteuid(), os.Getegid())
	}
	b, err := json.MarshalIndent(config, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("file %s exists: remove it first", path)
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

// makeRootless changes a configuration to one that a user can run without
// root's rights: as root of a user namespace of one id, in the host's network,
// with no cgroup to be limited by.
func makeRootless(s *specs.Spec, uid, gid int) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace || n.Type == specs.UserNamespace
	})
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: uint32(uid), ContainerID: 0, Size: 1}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: uint32(gid), ContainerID: 0, Size: 1}}
	s.Linux.Resources = nil
	for i := range s.Mounts {
		m := &s.Mounts[i]
		// The one group there is has number 0.
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "gid=") })
		if m.Destination == "/sys" {
			// A sysfs shows the network, which is not the container's own.
			*m = specs.Mount{Destination: "/sys", Type: "none", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
		}
	}
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/sys/fs/cgroup" })
}

package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
)

const defaultShmSize = 64 << 20

// mounts are the kernel's file systems, our files and what the user asked for,
// parents before children: what is ours in /etc or /run is there also when the
// user mounts /etc or /run. A mount of the user's replaces one of ours at the
// same place; one at /dev replaces all that is below it, too.
func mounts(in *Input) ([]specs.Mount, error) {
	s := in.Spec
	list := append(kernelMounts(s), files(in)...)
	places := map[string]bool{}
	var user []specs.Mount
	for _, m := range s.Mounts {
		om, err := userMount(m)
		if err != nil {
			return nil, err
		}
		if places[om.Destination] {
			return nil, fmt.Errorf("mount %s: two mounts at one place: choose one of them", om.Destination)
		}
		places[om.Destination] = true
		user = append(user, om)
	}
	list = slices.DeleteFunc(list, func(m specs.Mount) bool {
		return places[m.Destination] || places["/dev"] && strings.HasPrefix(m.Destination, "/dev/")
	})
	list = append(list, user...)
	slices.SortStableFunc(list, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return list, nil
}

// files are those of the host that every container has.
func files(in *Input) []specs.Mount {
	net := in.NetDir
	if net == "" {
		net = in.Dir
	}
	list := []specs.Mount{
		bind(filepath.Join(net, container.HostsFile), "/etc/hosts", "rw"),
		bind(filepath.Join(in.Dir, container.HostnameFile), "/etc/hostname", "rw"),
		bind(filepath.Join(net, container.ResolvFile), "/etc/resolv.conf", "rw"),
	}
	if in.Spec.Timezone != "" {
		list = append(list, bind(filepath.Join(in.Dir, localtimeFile), "/etc/localtime", "ro"))
	}
	if in.Spec.Init {
		list = append(list, bind(in.Init, initPath, "ro"))
	}
	return list
}

func bind(source, dest, mode string) specs.Mount {
	return specs.Mount{Destination: dest, Type: "bind", Source: source, Options: []string{"bind", mode, "rprivate"}}
}

func kernelMounts(s *container.Spec) []specs.Mount {
	mode := "ro"
	if s.Privileged {
		mode = "rw"
	}
	shm := s.ShmSize
	if shm == 0 {
		shm = defaultShmSize
	}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", mode}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", mode}},
	}
	if s.Network == "host" || strings.HasPrefix(s.Network, "ns:") || strings.HasPrefix(s.Network, "container:") {
		// A new sysfs shows the network namespace of whoever mounts it, and
		// may only be mounted by who owns that one: the host's is bound instead.
		list[3] = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", mode, "rslave"}}
	}
	if s.IPC == "host" {
		return append(list,
			specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "nosuid", "noexec", "nodev"}},
			specs.Mount{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: []string{"rbind", "nosuid", "noexec", "nodev"}})
	}
	return append(list,
		specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)}})
}

// userMount checks one -v, --mount or --tmpfs and completes it.
func userMount(m container.Mount) (specs.Mount, error) {
	dest := filepath.Clean(m.Destination)
	if !filepath.IsAbs(m.Destination) {
		return specs.Mount{}, fmt.Errorf("mount %q: the place in the container must be an absolute path", m.Destination)
	}
	if dest == "/" {
		return specs.Mount{}, fmt.Errorf("mount %q: the container's root cannot be mounted over", m.Destination)
	}
	switch m.Type {
	case "bind":
		if !filepath.IsAbs(m.Source) {
			return specs.Mount{}, fmt.Errorf("mount %s: source %q: must be an absolute path", dest, m.Source)
		}
		if _, err := os.Stat(m.Source); err != nil {
			return specs.Mount{}, fmt.Errorf("mount %s: source %s: %w: create it first", dest, m.Source, unwrapPath(err))
		}
		return specs.Mount{Destination: dest, Type: "bind", Source: m.Source, Options: bindOptions(m.Options)}, nil
	case "tmpfs":
		options := m.Options
		if len(options) == 0 {
			options = []string{"rw"}
		}
		return specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs", Options: append([]string{"nosuid", "nodev", "noexec"}, options...)}, nil
	}
	return specs.Mount{}, fmt.Errorf("mount %s: type %q: must be bind or tmpfs", dest, m.Type)
}

// bindOptions completes a bind mount: recursive and private unless said otherwise.
func bindOptions(in []string) []string {
	out := slices.Clone(in)
	if !slices.Contains(out, "bind") && !slices.Contains(out, "rbind") {
		out = append(out, "rbind")
	}
	for _, o := range out {
		switch strings.TrimPrefix(o, "r") {
		case "private", "shared", "slave", "unbindable":
			return out
		}
	}
	return append(out, "rprivate")
}

func unwrapPath(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

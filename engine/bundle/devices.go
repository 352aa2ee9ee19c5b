package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// devices returns the device nodes for the container and the rules that allow
// them. A directory stands for every device below it.
func devices(want []container.Device) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var nodes []specs.LinuxDevice
	var rules []specs.LinuxDeviceCgroup
	for _, d := range want {
		access := d.Access
		if access == "" {
			access = "rwm"
		}
		if strings.Trim(access, "rwm") != "" {
			return nil, nil, fmt.Errorf("device %s: access %q: must be of r, w and m", d.Source, d.Access)
		}
		dest := d.Destination
		if dest == "" {
			dest = d.Source
		}
		found, err := deviceNodes(d.Source, dest)
		if err != nil {
			return nil, nil, fmt.Errorf("device %s: %w", d.Source, err)
		}
		for _, n := range found {
			nodes = append(nodes, n)
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: n.Type, Major: &n.Major, Minor: &n.Minor, Access: access})
		}
	}
	return nodes, rules, nil
}

// DeviceNames names the devices of one --device as systemd's DeviceAllow= takes
// them: a node below /dev by its path, any other (and those of a directory) by
// its numbers, which systemd resolves by itself.
func DeviceNames(source string) []string {
	st, err := os.Stat(source)
	if (err != nil || !st.IsDir()) && strings.HasPrefix(source, "/dev/") && filepath.Clean(source) == source {
		return []string{source}
	}
	nodes, err := deviceNodes(source, source)
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range nodes {
		kind := "char"
		if n.Type == "b" {
			kind = "block"
		}
		names = append(names, fmt.Sprintf("/dev/%s/%d:%d", kind, n.Major, n.Minor))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func deviceNodes(source, dest string) ([]specs.LinuxDevice, error) {
	st, err := os.Stat(source)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		n, ok := deviceNode(st, dest)
		if !ok {
			return nil, fmt.Errorf("is no device node")
		}
		return []specs.LinuxDevice{n}, nil
	}
	var nodes []specs.LinuxDevice
	err = filepath.WalkDir(source, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != source {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		if e.IsDir() {
			// What is mounted there, as /dev/pts and /dev/shm are, is no part of it.
			if info, err := e.Info(); err != nil || info.Sys().(*syscall.Stat_t).Dev != st.Sys().(*syscall.Stat_t).Dev {
				return fs.SkipDir
			}
			return nil
		}
		st, err := e.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		rel, _ := filepath.Rel(source, path)
		if n, ok := deviceNode(st, filepath.Join(dest, rel)); ok && e.Name() != "console" {
			nodes = append(nodes, n)
		}
		return nil
	})
	return nodes, err
}

func deviceNode(st fs.FileInfo, dest string) (specs.LinuxDevice, bool) {
	sys := st.Sys().(*syscall.Stat_t)
	var kind string
	switch sys.Mode & syscall.S_IFMT {
	case syscall.S_IFCHR:
		kind = "c"
	case syscall.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, false
	}
	mode := fs.FileMode(sys.Mode & 0o7777)
	return specs.LinuxDevice{
		Path: dest, Type: kind, FileMode: &mode, UID: &sys.Uid, GID: &sys.Gid,
		Major: int64(unix.Major(sys.Rdev)), Minor: int64(unix.Minor(sys.Rdev)),
	}, true
}

// defaultDeviceRules are what every container may do with devices: make nodes
// if it has the capability, and use the harmless ones (runtime-spec,
// config-linux.md, "Default Devices").
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	n := func(v int64) *int64 { return &v }
	rules := []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
	}
	for _, d := range DefaultDevices {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(d[0]), Minor: n(d[1]), Access: "rwm"})
	}
	return append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(136), Access: "rwm"}) // /dev/pts/*
}

// DefaultDevices are the character devices every container may use, major and
// minor: null, zero, full, random, urandom, tty, console, ptmx.
var DefaultDevices = [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}}

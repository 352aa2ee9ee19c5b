package main

import (
	"context"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// image is what every container runs.
const (
	image    = "localhost:5000/busybox:latest"
	bigImage = "localhost:5000/big:latest"
)

// engine is a contender that has podman's and docker's verbs.
type engine struct {
	name       string // in tables
	binary     string
	runtime    string   // --runtime of run, unless the default
	supervisor string   // comm of what stays beside every container
	daemons    []string // comms of what runs for all of them
	removeAll  []string // command that removes every container, now
}

const (
	berth     = "berth"
	berthCrun = "berth --runtime crun"
	podman    = "podman (crun)"
	docker    = "docker (runc)"
)

// allEngines has berth twice: with its own runtime, and with podman's.
var allEngines = []engine{
	{
		name: berth, binary: "berth", supervisor: "berth-shim",
		removeAll: []string{"berth", "rm", "-f", "-a", "-t", "0"},
	},
	{name: berthCrun, binary: "berth", runtime: "crun"},
	{
		name: podman, binary: "podman", supervisor: "conmon",
		removeAll: []string{"podman", "rm", "-f", "-a", "-t", "0"},
	},
	{
		// The comm of containerd-shim-runc-v2 is cut at 15 bytes.
		name: docker, binary: "docker", supervisor: "containerd-shim", daemons: []string{"dockerd", "containerd"},
		removeAll: []string{"sh", "-c", "docker rm -f $(docker ps -aq)"},
	},
}

// run is the command line of `run` without the image and what follows.
func (e engine) run(args ...string) []string {
	cmd := []string{e.binary, "run"}
	if e.runtime != "" {
		cmd = append(cmd, "--runtime", e.runtime)
	}
	return append(cmd, args...)
}

// distinct are the engines without variants of one.
func (b *bench) distinct() []engine {
	var s []engine
	for _, e := range b.engines {
		if e.runtime == "" {
			s = append(s, e)
		}
	}
	return s
}

// about says what was compared, and where.
func about(ctx context.Context) map[string]string {
	about := map[string]string{}
	for name, args := range map[string][]string{
		"berth":   {"berth", "--version"},
		"podman":  {"podman", "--version"},
		"docker":  {"docker", "--version"},
		"crun":    {"crun", "--version"},
		"runc":    {"runc", "--version"},
		"systemd": {"systemctl", "--version"},
	} {
		out, err := output(ctx, args...)
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(out, "\n")
		for _, word := range strings.Fields(line) {
			if strings.ContainsAny(word[:1], "0123456789") {
				about[name] = strings.TrimSuffix(word, ",")
				break
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		about["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		about["load before"] = strings.Fields(string(data))[0]
	}
	var st unix.Statfs_t
	if unix.Statfs("/var/lib/containers", &st) == nil {
		about["storage"] = map[int64]string{unix.TMPFS_MAGIC: "tmpfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs"}[int64(st.Type)]
	}
	return about
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The program is built twice. The everyday one is without what talks to systemd
// (D-Bus) and to CRIU (protobuf), whose packages prepare themselves at the start
// of every process that links them: as long as a short container lives. The
// whole one is called berth-runtime-full and is beside it. In the everyday one,
// built with the tag lean, the constant whole is false, and what is asked of it
// that it lacks ends in becomeWhole.

// becomeWhole executes the whole program in place of this process, with the
// same command line: by then nothing has been done but to find out that it is
// needed. It returns only if it cannot.
func becomeWhole() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find berth-runtime-full: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "berth-runtime-full")
	err = syscall.Exec(path, os.Args, os.Environ())
	return fmt.Errorf("execute %s: %w: install berth as a whole", path, err)
}

// inOwnUnit says whether this process was started by the supervisor of a berth
// container, for it: it is in the supervisor's cgroup then, below a unit of
// systemd that is the container's already and has its limits. --systemd-cgroup
// makes no other one there, and the container's cgroup is below the unit's,
// beside the supervisor's, whatever linux.cgroupsPath says about slices.
func inOwnUnit() bool {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return isOwnUnit(path)
		}
	}
	return false
}

// isOwnUnit says whether a cgroup is the supervisor's of a berth container:
// berth-NAME.service, or container@NAME.service, with supervisor below.
func isOwnUnit(path string) bool {
	dir, leaf := filepath.Split(path)
	unit := filepath.Base(dir)
	return leaf == "supervisor" && strings.HasSuffix(unit, ".service") &&
		(strings.HasPrefix(unit, "berth-") || strings.HasPrefix(unit, "container@"))
}

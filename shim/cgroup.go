package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// unit is where this process was started.
type unit struct {
	name       string // berth-NAME.service
	invocation string
	mount      string // of the cgroup2 hierarchy
	cgroup     string // of the unit, below mount
}

// ownUnit finds the unit by the cgroup it put this process in.
func ownUnit() (unit, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return unit{}, fmt.Errorf("find own unit: %w", err)
	}
	path, ok := cgroup2Path(data)
	if !ok {
		return unit{}, errors.New("find own unit: no cgroup v2 hierarchy")
	}
	// DelegateSubgroup= (systemd 254) or an earlier run of this process.
	if filepath.Base(path) == container.ShimCgroup {
		path = filepath.Dir(path)
	}
	mount, err := cgroup2Mount()
	if err != nil {
		return unit{}, fmt.Errorf("find own unit: %w", err)
	}
	return unit{name: filepath.Base(path), cgroup: path, mount: mount}, nil
}

// cgroup2Path takes the hierarchy 0 out of /proc/PID/cgroup; lines of v1
// hierarchies may be there too.
func cgroup2Path(data []byte) (string, bool) {
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			return string(bytes.TrimSuffix(rest, []byte("\n"))), true
		}
	}
	return "", false
}

func cgroup2Mount() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && int64(st.Type) == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}

func (u unit) dir() string  { return filepath.Join(u.mount, u.cgroup) }
func (u unit) leaf() string { return filepath.Join(u.dir(), container.ContainerCgroup) }

// enter moves this process out of the unit's own cgroup, which must hold no
// process once controllers are enabled for the leaf in it.
func (u unit) enter() error {
	dir := filepath.Join(u.dir(), container.ShimCgroup)
	procs := filepath.Join(dir, "cgroup.procs")
	err := writeCgroup(procs, "0")
	if errors.Is(err, unix.ENOENT) {
		if err = os.Mkdir(dir, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			err = writeCgroup(procs, "0")
		}
	}
	if err != nil {
		return fmt.Errorf("enter cgroup: %w", err)
	}
	return nil
}

// killLeaf kills every process of the container (cgroup.kill, Linux 5.14).
func (u unit) killLeaf() error { return killCgroup(u.leaf()) }

func killCgroup(dir string) error {
	err := writeCgroup(filepath.Join(dir, "cgroup.kill"), "1")
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return nil
}

// removeLeaf removes the container's cgroup and what it made below it.
//
// One that was killed must not be used again: on Linux 6.18 a process that is
// cloned into a cgroup (CLONE_INTO_CGROUP, as crun does) from another one is
// killed if cgroup.kill was ever written there, because the fork compares the
// two cgroups' counters of kills.
func (u unit) removeLeaf() { removeCgroup(u.leaf()) }

func removeCgroup(dir string) {
	if unix.Rmdir(dir) != unix.EBUSY {
		return
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}

// populated says whether a process is left in dir or below it. A cgroup that
// is not there has none.
func populated(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return err == nil && bytes.Contains(data, []byte("populated 1"))
}

// oomKills returns how many processes of the unit the kernel has killed for
// want of memory.
func (u unit) oomKills() int {
	data, err := os.ReadFile(filepath.Join(u.dir(), "memory.events"))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(rest)))
			return n
		}
	}
	return 0
}

func writeCgroup(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

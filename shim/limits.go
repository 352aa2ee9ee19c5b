package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// limitFile is a limit that the container's leaf has from the unit, so that
// what a container reads below /sys/fs/cgroup is what holds for it.
type limitFile struct {
	controller, name string
	none             string // what it says where there is no limit
}

var limitFiles = []limitFile{
	{"memory", "memory.max", "max"},
	{"memory", "memory.high", "max"},
	{"memory", "memory.low", "0"},
	{"memory", "memory.min", "0"},
	{"memory", "memory.swap.max", "max"},
	{"cpu", "cpu.max", "max 100000"},
	{"cpu", "cpu.weight", "100"},
	{"cpuset", "cpuset.cpus", ""},
	{"cpuset", "cpuset.mems", ""},
	{"pids", "pids.max", "max"},
}

// copyLimits gives the leaf the limits that the unit has now. A controller is
// enabled for it only where there is one: others cost, and tell nothing.
//
// The limits hold by the unit alone. What goes wrong here is that the container
// does not see them.
func (u unit) copyLimits(r *container.Record) error {
	if have, err := os.ReadFile(filepath.Join(u.dir(), "cgroup.controllers")); err != nil || len(bytes.TrimSpace(have)) == 0 {
		return err // the host has them on cgroup v1
	}
	values := make([]string, len(limitFiles))
	wanted := map[string]bool{}
	for i, f := range limitFiles {
		data, err := os.ReadFile(filepath.Join(u.dir(), f.name))
		if err != nil {
			values[i] = f.none // without this controller, or without swap
			continue
		}
		values[i] = strings.TrimSpace(string(data))
		wanted[f.controller] = wanted[f.controller] || values[i] != f.none
	}
	enabled, err := u.enable(wanted)
	if err != nil {
		return err
	}
	if err := os.Mkdir(u.leaf(), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("copy limits: %w", err)
	}
	var errs []error
	for i, f := range limitFiles {
		if !enabled[f.controller] {
			continue
		}
		value := values[i]
		if f.name == "pids.max" {
			value = ownTasks(value, r)
		}
		err := writeCgroup(filepath.Join(u.leaf(), f.name), value+"\n")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("copy limits: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ownTasks is the leaf's share of the unit's tasks: what was asked for is the
// container's, the rest the supervisor's. A limit that somebody else has set
// since is taken as it is.
func ownTasks(unit string, r *container.Record) string {
	n := r.Spec.Resources.PidsLimit
	if n != nil && *n > 0 && unit == strconv.FormatInt(*n+container.ShimTasks, 10) {
		return strconv.FormatInt(*n, 10)
	}
	return unit
}

// enable enables controllers for the leaf, beside those that are, and returns
// which are enabled then.
// Preconditions: no process is in the unit's own cgroup.
func (u unit) enable(wanted map[string]bool) (map[string]bool, error) {
	path := filepath.Join(u.dir(), "cgroup.subtree_control")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("enable controllers: %w", err)
	}
	enabled := map[string]bool{}
	for c := range bytes.FieldsSeq(data) {
		enabled[string(c)] = true
	}
	var add []string
	for c, w := range wanted {
		if w && !enabled[c] {
			add = append(add, "+"+c)
			enabled[c] = true
		}
	}
	if len(add) == 0 {
		return enabled, nil
	}
	if err := writeCgroup(path, strings.Join(add, " ")); err != nil {
		return nil, fmt.Errorf("enable controllers: %w", err)
	}
	return enabled, nil
}

// followLimits copies the limits again whenever one of the unit's is written
// (systemctl set-property), until ended. The kernel tells of a write(2) to a
// file of a cgroup as of any other.
//
// To close an inotify descriptor takes the kernel 6 to 9 ms (it waits for
// readers of a lock): where there is nothing to watch none is made, and nobody
// waits for the end of one.
func (s *shim) followLimits() (end func()) {
	if have, err := os.ReadFile(filepath.Join(s.unit.dir(), "cgroup.controllers")); err != nil || len(bytes.TrimSpace(have)) == 0 {
		return func() {}
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return func() {} // the unit's hold all the same
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	watched := 0
	for _, f := range limitFiles {
		// By file: memory.events and the like are written all the time.
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(s.unit.dir(), f.name), unix.IN_MODIFY); err == nil {
			watched++
		}
	}
	if watched == 0 {
		watch.Close()
		return func() {}
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		buf := make([]byte, 4096)
		for err := error(nil); err == nil; _, err = watch.Read(buf) {
			_ = s.unit.copyLimits(s.rec)
		}
	}()
	return func() {
		_ = watch.SetReadDeadline(time.Unix(1, 0))
		<-over
		go watch.Close()
	}
}

// Release takes all controllers from the children of the unit whose cgroup this
// process is in or below, in .control: ExecStopPost= on systemd before 254.
// That puts a restarted shim into the unit's own cgroup first, which the kernel
// refuses (EBUSY) while there are any and the container lives.
func Release() error {
	u, err := ownUnit()
	if err != nil {
		return err
	}
	dir := u.dir()
	if filepath.Base(dir) == ".control" {
		dir = filepath.Dir(dir)
	}
	return release(dir)
}

func release(dir string) error {
	path := filepath.Join(dir, "cgroup.subtree_control")
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("release controllers: %w", err)
	}
	var errs []error
	for c := range bytes.FieldsSeq(data) {
		// One by one: one that cannot be released must not keep the others.
		if err := writeCgroup(path, "-"+string(c)); err != nil {
			errs = append(errs, fmt.Errorf("release controllers: %w", err))
		}
	}
	return errors.Join(errs...)
}

package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNotPaused says that a container to resume is not paused.
var ErrNotPaused = errors.New("container not paused")

// Pause freezes the container's processes, and returns when they are frozen.
func (c *Container) Pause(ctx context.Context) error {
	switch c.Status() {
	case specs.StateRunning, specs.StateCreated:
	default:
		return fmt.Errorf("pause %s: %w", c.rec.ID, ErrStopped)
	}
	if err := c.freeze(ctx, true); err != nil {
		// Not half of it.
		cgroup{c.rec.Cgroup}.write(freezeFile, "0") //nolint:errcheck // the first error is the one to tell
		return fmt.Errorf("pause %s: %w", c.rec.ID, err)
	}
	return nil
}

// Resume thaws what Pause has frozen.
func (c *Container) Resume(ctx context.Context) error {
	if !(cgroup{c.rec.Cgroup}).frozen() {
		return fmt.Errorf("resume %s: %w", c.rec.ID, ErrNotPaused)
	}
	if err := c.freeze(ctx, false); err != nil {
		return fmt.Errorf("resume %s: %w", c.rec.ID, err)
	}
	return nil
}

const freezeFile = "cgroup.freeze" // Linux 5.2

// freeze asks for a state of the freezer and waits for it.
func (c *Container) freeze(ctx context.Context, frozen bool) error {
	if c.rec.Cgroup == "" {
		return &UnsupportedError{Feature: "pause", Needs: "cgroup v2"}
	}
	cg := cgroup{c.rec.Cgroup}
	value := "0"
	if frozen {
		value = "1"
	}
	// Opened before: what is read from it decides what poll waits for.
	events, err := unix.Open(filepath.Join(cg.dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup.events: %w", err)
	}
	defer unix.Close(events)
	if err := cg.write(freezeFile, value); err != nil {
		return fmt.Errorf("write %s: %w", freezeFile, err)
	}
	buf := make([]byte, 256)
	for {
		n, err := unix.Pread(events, buf, 0)
		if err != nil {
			return fmt.Errorf("read cgroup.events: %w", err)
		}
		if bytes.Contains(buf[:n], []byte("frozen "+value)) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}, 100)
		if err != nil && err != unix.EINTR {
			return err
		}
	}
}

// Processes lists the pids of the container's processes, as the runtime's pid
// namespace numbers them.
func (c *Container) Processes() ([]int, error) {
	if c.rec.Cgroup == "" {
		if c.Status() == specs.StateStopped {
			return nil, nil
		}
		return []int{c.rec.Pid}, nil
	}
	var pids []int
	err := cgroup{c.rec.Cgroup}.each(func(dir string) error {
		b, err := readFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return nil //nolint:nilerr // it went away, or is threaded, and its leader is above
		}
		for line := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of %s: %w", c.rec.ID, err)
	}
	slices.Sort(pids)
	return pids, nil
}

// each calls f with the cgroup's directory and every one below.
func (c cgroup) each(f func(dir string) error) error {
	return filepath.WalkDir(c.dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && p == c.dir && !errors.Is(err, unix.ENOENT):
			return err
		case err != nil || !d.IsDir():
			return nil // it went away meanwhile
		}
		return f(p)
	})
}

// Update changes the container's limits to those that r has; the others stay.
func (c *Container) Update(r *specs.LinuxResources) error {
	if c.rec.Cgroup == "" {
		return &UnsupportedError{Feature: "update", Needs: "cgroup v2"}
	}
	if c.Status() == specs.StateStopped {
		return fmt.Errorf("update %s: %w", c.rec.ID, ErrStopped)
	}
	cg := cgroup{c.rec.Cgroup}
	r, err := c.Completed(r)
	if err == nil {
		err = cg.limit(r, false)
	}
	if err == nil {
		err = cg.allowDevices(r.Devices)
	}
	if err != nil {
		return fmt.Errorf("update %s: %w", c.rec.ID, err)
	}
	return nil
}

// Completed is r with the present value beside each new one that means nothing
// without it: cgroup v2 has one file for quota and period, and the
// configuration counts swap together with memory. It fails where r asks for a
// check that a new limit is not below what is used, and it is.
func (c *Container) Completed(r *specs.LinuxResources) (*specs.LinuxResources, error) {
	full, cg := *r, cgroup{c.rec.Cgroup}
	if r.CPU != nil && r.CPU.Period != nil && *r.CPU.Period != 0 && (r.CPU.Quota == nil || *r.CPU.Quota == 0) {
		cpu := *r.CPU
		if b, err := readFile(cg.dir + "/cpu.max"); err == nil {
			if quota, err := strconv.ParseInt(firstField(b), 10, 64); err == nil {
				cpu.Quota = &quota
			}
		}
		full.CPU = &cpu
	}
	if r.Memory == nil {
		return &full, nil
	}
	memory := *r.Memory
	full.Memory = &memory
	oldMemory, oldSwap := cg.number("memory.max"), cg.number("memory.swap.max")
	given := func(p *int64) bool { return p != nil && *p != 0 }
	switch {
	case given(memory.Swap) && *memory.Swap > 0 && !given(memory.Limit) && oldMemory >= 0:
		memory.Limit = &oldMemory
	case given(memory.Limit) && *memory.Limit > 0 && !given(memory.Swap) && oldMemory >= 0 && oldSwap >= 0:
		both := oldMemory + oldSwap
		memory.Swap = &both
	}
	if memory.CheckBeforeUpdate == nil || !*memory.CheckBeforeUpdate {
		return &full, nil
	}
	used := cg.number("memory.current")
	if memory.Limit != nil && *memory.Limit > 0 && used >= *memory.Limit {
		return nil, fmt.Errorf("set memory.max to %d: %d are in use", *memory.Limit, used)
	}
	if memory.Swap != nil && *memory.Swap > 0 && used >= *memory.Swap {
		return nil, fmt.Errorf("set memory and swap to %d: %d are in use", *memory.Swap, used)
	}
	return &full, nil
}

// number reads a file with one number, -1 for "max" or where there is none.
func (c cgroup) number(file string) int64 {
	b, err := readFile(c.dir + "/" + file)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(firstField(b), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func firstField(b []byte) string {
	f := bytes.Fields(b)
	if len(f) == 0 {
		return ""
	}
	return string(f[0])
}

// WatchOOM calls oom each time that the kernel has killed processes of the
// container for want of memory, and returns when its init has ended.
func (c *Container) WatchOOM(oom func()) error {
	pidfd, err := c.pidfd()
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	path := filepath.Join(c.rec.Cgroup, "memory.events")
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch memory.events: %w", err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, path, unix.IN_MODIFY); err != nil && err != unix.ENOENT {
		return fmt.Errorf("watch memory.events: %w", err)
	}
	killed := oomKills(path)
	tell := func() {
		if n := oomKills(path); n > killed {
			killed = n
			oom()
		}
	}
	buf := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("watch memory.events: %w", err)
		}
		unix.Read(watch, buf) //nolint:errcheck // that something has come is all there is to it
		// Also at the end: the init may be what was killed, and the kernel
		// tells of both in any order.
		tell()
		if fds[1].Revents != 0 {
			return nil
		}
	}
}

// oomKills reads memory.events.
func oomKills(path string) int64 {
	b, err := readFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

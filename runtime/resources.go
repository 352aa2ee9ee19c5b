package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/berthrun/berth/internal/cpushares"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// control is a value for one of a cgroup's files.
type control struct{ file, value string }

// controls is what linux.resources says, file by file of cgroup v2.
func controls(r *specs.LinuxResources) []control {
	var list []control
	add := func(file, value string) { list = append(list, control{file, value}) }
	if p := r.Pids; p != nil && p.Limit != nil && *p.Limit != 0 {
		add("pids.max", limit(*p.Limit))
	}
	if m := r.Memory; m != nil {
		if m.Limit != nil && *m.Limit != 0 {
			add("memory.max", limit(*m.Limit))
		}
		if m.Reservation != nil && *m.Reservation != 0 {
			add("memory.low", limit(*m.Reservation))
		}
		if m.Swap != nil && *m.Swap != 0 {
			// The configuration counts memory and swap together.
			swap := *m.Swap
			if swap > 0 && m.Limit != nil && *m.Limit > 0 {
				swap -= *m.Limit
			}
			add("memory.swap.max", limit(swap))
		}
	}
	if c := r.CPU; c != nil {
		if c.Shares != nil && *c.Shares != 0 {
			add("cpu.weight", strconv.FormatUint(cpushares.Weight(*c.Shares), 10))
		}
		if c.Quota != nil || c.Period != nil {
			quota := "max"
			if c.Quota != nil && *c.Quota > 0 {
				quota = strconv.FormatInt(*c.Quota, 10)
			}
			period := uint64(100000)
			if c.Period != nil && *c.Period != 0 {
				period = *c.Period
			}
			add("cpu.max", fmt.Sprintf("%s %d", quota, period))
		}
		if c.Burst != nil {
			add("cpu.max.burst", strconv.FormatUint(*c.Burst, 10))
		}
		if c.Idle != nil {
			add("cpu.idle", strconv.FormatInt(*c.Idle, 10))
		}
		if c.Cpus != "" {
			add("cpuset.cpus", c.Cpus)
		}
		if c.Mems != "" {
			add("cpuset.mems", c.Mems)
		}
	}
	for _, h := range r.HugepageLimits {
		add("hugetlb."+h.Pagesize+".max", strconv.FormatUint(h.Limit, 10))
	}
	for _, file := range slices.Sorted(mapsKeys(r.Unified)) {
		add(file, r.Unified[file])
	}
	return list
}

func mapsKeys(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func limit(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// limit writes the limits that the leaf has files for. Where a controller is
// not there, the limit is its giver's: an engine sets it on the unit above.
func (c cgroup) limit(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	for _, ctl := range controls(r) {
		for _, b := range []byte(ctl.file) {
			if b == '/' || b == 0 {
				return fmt.Errorf("set %s: not a file of a cgroup", ctl.file)
			}
		}
		err := c.write(ctl.file, ctl.value)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("set %s to %s: %w", ctl.file, ctl.value, err)
		}
	}
	return nil
}

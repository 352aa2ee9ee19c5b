package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berthrun/berth/internal/cpushares"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// control is a value for one of a cgroup's files.
type control struct {
	file, value string
	// orElse is what to write where the kernel has no such file.
	orElse *control
	// early is a first try, which the kernel may refuse for the sake of what
	// is written after it: the same control comes again then.
	early bool
}

// noLimit says that the value is what holds where there is no such file.
func (c *control) noLimit() bool {
	switch c.file {
	case "memory.swap.max": // missing: no swap, or none that is accounted
		return c.value == "max" || c.value == "0"
	case "pids.max", "memory.max", "memory.low":
		return c.value == "max"
	case "cpu.max":
		return strings.HasPrefix(c.value, "max")
	}
	return strings.HasSuffix(c.file, ".rsvd.max") // Linux 5.7; the other limit is there too
}

// controls is what linux.resources says, file by file of cgroup v2, in the
// order in which it is written: that of the kernel's checks, and unified last.
func controls(r *specs.LinuxResources) ([]control, error) {
	if err := onlyV1(r); err != nil {
		return nil, err
	}
	var list []control
	add := func(file, value string) { list = append(list, control{file: file, value: value}) }
	if p := r.Pids; p != nil && p.Limit != nil && *p.Limit != 0 {
		add("pids.max", limit(*p.Limit))
	}
	if m := r.Memory; m != nil {
		swap, err := SwapMax(m)
		if err != nil {
			return nil, err
		}
		if swap != nil {
			add("memory.swap.max", limit(*swap))
		}
		if m.Limit != nil && *m.Limit != 0 {
			add("memory.max", limit(*m.Limit))
		}
		if m.Reservation != nil && *m.Reservation != 0 {
			add("memory.low", limit(*m.Reservation))
		}
	}
	if r.CPU != nil {
		list = append(list, cpuControls(r.CPU)...)
	}
	if r.BlockIO != nil {
		list = append(list, ioControls(r.BlockIO)...)
	}
	for _, h := range r.HugepageLimits {
		max := strconv.FormatUint(h.Limit, 10)
		add("hugetlb."+h.Pagesize+".max", max)
		// What is reserved is counted apart, and may be used without a fault.
		add("hugetlb."+h.Pagesize+".rsvd.max", max)
	}
	for device, l := range r.Rdma {
		value := device
		if l.HcaHandles != nil {
			value += " hca_handle=" + strconv.FormatUint(uint64(*l.HcaHandles), 10)
		}
		if l.HcaObjects != nil {
			value += " hca_object=" + strconv.FormatUint(uint64(*l.HcaObjects), 10)
		}
		add("rdma.max", value)
	}
	return unified(list, r.Unified)
}

// unified adds what is given file by file.
func unified(list []control, files map[string]string) ([]control, error) {
	names := make([]string, 0, len(files))
	for file := range files {
		names = append(names, file)
	}
	slices.Sort(names)
	for _, file := range names {
		if strings.ContainsAny(file, "/\x00") || strings.IndexByte(file, '.') <= 0 {
			return nil, fmt.Errorf("set %q: not a file of a cgroup", file)
		}
		list = append(list, control{file: file, value: files[file]})
	}
	return list, nil
}

// onlyV1 refuses what cgroup v2 has nothing for. Kernel memory is passed over,
// as the specification has it.
func onlyV1(r *specs.LinuxResources) error {
	feature := ""
	if n := r.Network; n != nil && (n.ClassID != nil && *n.ClassID != 0 || len(n.Priorities) > 0) {
		feature = "network"
	}
	if m := r.Memory; m != nil {
		if m.Swappiness != nil {
			feature = "memory.swappiness"
		}
		if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
			feature = "memory.disableOOMKiller"
		}
	}
	if c := r.CPU; c != nil && (c.RealtimeRuntime != nil && *c.RealtimeRuntime != 0 || c.RealtimePeriod != nil && *c.RealtimePeriod != 0) {
		feature = "cpu.realtimeRuntime"
	}
	if b := r.BlockIO; b != nil {
		leaf := b.LeafWeight
		for i := range b.WeightDevice {
			if l := b.WeightDevice[i].LeafWeight; l != nil && *l != 0 {
				leaf = l
			}
		}
		if leaf != nil && *leaf != 0 {
			feature = "blockIO.leafWeight"
		}
	}
	if feature == "" {
		return nil
	}
	return &UnsupportedError{Feature: "linux.resources." + feature, Needs: "cgroup v1"}
}

// SwapMax is the limit of swap alone, of a configuration that counts memory and
// swap together: -1 is without a limit, nil leaves it as it is.
func SwapMax(m *specs.LinuxMemory) (*int64, error) {
	var memory, both int64
	if m.Limit != nil {
		memory = *m.Limit
	}
	if m.Swap != nil {
		both = *m.Swap
	}
	swap := int64(-1)
	switch {
	case both < 0 || both == 0 && memory == -1: // an unlimited memory was never meant to be without swap
	case both == 0:
		return nil, nil
	case memory == 0:
		return nil, errors.New("set memory.swap.max: a limit of memory and swap needs one of memory")
	case memory < 0:
		return nil, errors.New("set memory.swap.max: memory is unlimited, and memory with swap is not")
	case both < memory:
		return nil, fmt.Errorf("set memory.swap.max: memory and swap, %d, are less than memory, %d", both, memory)
	default:
		swap = both - memory
	}
	return &swap, nil
}

func cpuControls(c *specs.LinuxCPU) (list []control) {
	add := func(file, value string) { list = append(list, control{file: file, value: value}) }
	idle := c.Idle != nil && *c.Idle != 0
	if c.Idle != nil {
		add("cpu.idle", strconv.FormatInt(*c.Idle, 10))
	}
	if c.Shares != nil && *c.Shares != 0 && !idle { // an idle group has no weight
		add("cpu.weight", strconv.FormatUint(cpushares.Weight(*c.Shares), 10))
	}
	quota := c.Quota != nil && *c.Quota != 0
	period := c.Period != nil && *c.Period != 0
	var burst string
	if c.Burst != nil {
		burst = strconv.FormatUint(*c.Burst, 10)
		// At most the quota: a smaller one before it, a larger one after.
		list = append(list, control{file: "cpu.max.burst", value: burst, early: quota || period})
	}
	if quota || period {
		value := "max"
		if quota && *c.Quota > 0 {
			value = strconv.FormatInt(*c.Quota, 10)
		}
		if period {
			value += " " + strconv.FormatUint(*c.Period, 10)
		}
		add("cpu.max", value) // without a period that stays as it is
		if burst != "" {
			add("cpu.max.burst", burst)
		}
	}
	if c.Cpus != "" {
		add("cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		add("cpuset.mems", c.Mems)
	}
	return list
}

// ioControls translates the weights, of BFQ where the kernel has it and else of
// io.weight, whose scale is another, and the limits.
func ioControls(b *specs.LinuxBlockIO) (list []control) {
	weight := func(prefix string, w *uint16) {
		if w == nil || *w == 0 {
			return
		}
		list = append(list, control{file: "io.bfq.weight", value: prefix + strconv.Itoa(int(*w)),
			orElse: &control{file: "io.weight", value: prefix + strconv.Itoa(ioWeight(int(*w)))}})
	}
	weight("", b.Weight)
	for i := range b.WeightDevice {
		d := &b.WeightDevice[i]
		weight(fmt.Sprintf("%d:%d ", d.Major, d.Minor), d.Weight)
	}
	for _, t := range []struct {
		key     string
		devices []specs.LinuxThrottleDevice
	}{
		{"rbps", b.ThrottleReadBpsDevice},
		{"wbps", b.ThrottleWriteBpsDevice},
		{"riops", b.ThrottleReadIOPSDevice},
		{"wiops", b.ThrottleWriteIOPSDevice},
	} {
		for i := range t.devices {
			d := &t.devices[i]
			rate := "max" // 0 takes a limit away
			if d.Rate != 0 {
				rate = strconv.FormatUint(d.Rate, 10)
			}
			list = append(list, control{file: "io.max", value: fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.key, rate)})
		}
	}
	return list
}

// ioWeight maps blkio.weight (10 to 1000) to io.weight (1 to 10000), as the
// specification's other runtimes do: a line.
func ioWeight(w int) int { return 1 + max(w-10, 0)*9999/990 }

func limit(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// limit writes the limits. In a leaf that its giver limits, what it lacks a
// file for is passed over: see CreateOptions.Delegated.
func (c cgroup) limit(r *specs.LinuxResources, delegated bool) error {
	if r == nil {
		return nil
	}
	list, err := controls(r)
	if err != nil {
		return err
	}
	for i := range list {
		ctl := &list[i]
		err := c.write(ctl.file, ctl.value)
		if err == unix.ENOENT && ctl.orElse != nil {
			ctl = ctl.orElse
			err = c.write(ctl.file, ctl.value)
		}
		switch {
		case err == nil:
		case err == unix.ENOENT && (delegated || ctl.noLimit()):
		case err == unix.ENOENT:
			return c.lacks(ctl)
		case err == unix.EINVAL && ctl.early:
		default:
			return fmt.Errorf("set %s to %s: %w", ctl.file, ctl.value, err)
		}
	}
	return nil
}

// lacks says why a cgroup has no such file.
func (c cgroup) lacks(ctl *control) error {
	name, _, _ := strings.Cut(ctl.file, ".")
	needs := "a kernel with " + ctl.file
	switch {
	case name == "cgroup" || c.has(name):
	case cgroup{cgroupMount()}.has(name):
		needs = "the controller " + name + " in " + c.dir + ", where it cannot be enabled"
	default:
		needs = "the controller " + name + " in cgroup v2"
	}
	return fmt.Errorf("set %s to %s: %w", ctl.file, ctl.value, &UnsupportedError{Feature: ctl.file, Needs: needs})
}

// has says whether a controller is enabled in the cgroup.
func (c cgroup) has(controller string) bool {
	b, err := readFile(c.dir + "/cgroup.controllers")
	if err != nil {
		return false
	}
	return slices.Contains(strings.Fields(string(b)), controller)
}

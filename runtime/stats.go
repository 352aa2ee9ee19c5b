package runtime

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// Stats are the figures of a container's cgroup, in the words of runc's events,
// which have stayed those of cgroup v1: times are nanoseconds, and swap counts
// memory too.
type Stats struct {
	CPU               CPUStats                `json:"cpu"`
	CPUSet            CPUSetStats             `json:"cpuset"`
	Memory            MemoryStats             `json:"memory"`
	Pids              PidsStats               `json:"pids"`
	Blkio             BlkioStats              `json:"blkio"`
	Hugetlb           map[string]HugetlbStats `json:"hugetlb"`
	IntelRdt          struct{}                `json:"intel_rdt"`
	NetworkInterfaces []struct{}              `json:"network_interfaces"` // always null, as with runc
}

// CPUStats are of cpu.stat.
type CPUStats struct {
	Usage struct {
		Total  uint64 `json:"total,omitempty"`
		Kernel uint64 `json:"kernel"`
		User   uint64 `json:"user"`
	} `json:"usage,omitempty"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling,omitempty"`
	PSI *PSIStats `json:"psi,omitempty"`
}

// CPUSetStats are what runc prints of cgroup v1 and cgroup v2 does not have.
type CPUSetStats struct {
	CPUExclusive          uint64 `json:"cpu_exclusive"`
	MemHardwall           uint64 `json:"mem_hardwall"`
	MemExclusive          uint64 `json:"mem_exclusive"`
	MemoryMigrate         uint64 `json:"memory_migrate"`
	MemorySpreadPage      uint64 `json:"memory_spread_page"`
	MemorySpreadSlab      uint64 `json:"memory_spread_slab"`
	MemoryPressure        uint64 `json:"memory_pressure"`
	SchedLoadBalance      uint64 `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64  `json:"sched_relax_domain_level"`
}

// MemoryUse is one kind of memory.
type MemoryUse struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// MemoryStats are of the memory controller; Raw is memory.stat.
type MemoryStats struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryUse         `json:"usage,omitempty"`
	Swap      MemoryUse         `json:"swap,omitempty"`
	Kernel    MemoryUse         `json:"kernel,omitempty"`
	KernelTCP MemoryUse         `json:"kernelTCP,omitempty"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *PSIStats         `json:"psi,omitempty"`
}

// PidsStats count tasks.
type PidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlkioEntry is a figure of one device.
type BlkioEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// BlkioStats are of io.stat.
type BlkioStats struct {
	IoServiceBytesRecursive []BlkioEntry `json:"ioServiceBytesRecursive,omitempty"`
	IoServicedRecursive     []BlkioEntry `json:"ioServicedRecursive,omitempty"`
	PSI                     *PSIStats    `json:"psi,omitempty"`
}

// HugetlbStats are of one page size.
type HugetlbStats struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// PSIStats is what tasks have waited for a resource: some of them, all of them.
type PSIStats struct {
	Some PSIData `json:"some,omitempty"`
	Full PSIData `json:"full,omitempty"`
}

// PSIData are shares of the time, in percent, and microseconds in all.
type PSIData struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// Stats reads the container's figures. What its cgroup has no controller for is zero.
func (c *Container) Stats() (*Stats, error) {
	cg := cgroup{c.rec.Cgroup}
	if cg.dir == "" {
		return nil, &UnsupportedError{Feature: "stats", Needs: "cgroup v2"}
	}
	cpu := cg.keyed("cpu.stat")
	if cpu == nil {
		return nil, fmt.Errorf("read statistics of %s: %w", c.rec.ID, ErrStopped)
	}
	s := &Stats{Hugetlb: map[string]HugetlbStats{}}
	const usec = 1000
	s.CPU.Usage.Total, s.CPU.Usage.Kernel, s.CPU.Usage.User = cpu["usage_usec"]*usec, cpu["system_usec"]*usec, cpu["user_usec"]*usec
	s.CPU.Throttling.Periods, s.CPU.Throttling.ThrottledPeriods = cpu["nr_periods"], cpu["nr_throttled"]
	s.CPU.Throttling.ThrottledTime = cpu["throttled_usec"] * usec
	s.CPU.PSI = cg.pressure("cpu.pressure")
	cg.memory(&s.Memory)
	s.Pids.Current = cg.figure("pids.current")
	if n := cg.figure("pids.max"); n != math.MaxUint64 {
		s.Pids.Limit = n
	}
	cg.io(&s.Blkio)
	cg.hugetlb(s.Hugetlb)
	return s, nil
}

func (c cgroup) memory(m *MemoryStats) {
	m.Raw = c.keyed("memory.stat")
	m.Cache = m.Raw["file"]
	m.PSI = c.pressure("memory.pressure")
	use := func(name string) MemoryUse {
		return MemoryUse{Limit: c.figure(name + ".max"), Usage: c.figure(name + ".current"), Max: c.figure(name + ".peak")} // Linux 5.19, 6.5
	}
	m.Usage, m.Swap = use("memory"), use("memory.swap")
	m.Usage.Failcnt = c.keyed("memory.events")["max"]
	m.Swap.Usage += m.Usage.Usage
	if m.Swap.Limit < math.MaxUint64-m.Usage.Limit {
		m.Swap.Limit += m.Usage.Limit
	} else {
		m.Swap.Limit = math.MaxUint64
	}
	m.Swap.Max = 0 // two peaks are no peak of the sum
}

func (c cgroup) io(b *BlkioStats) {
	b.PSI = c.pressure("io.pressure")
	data, err := readFile(c.dir + "/io.stat")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, ok := strings.Cut(f[0], ":")
		e := BlkioEntry{}
		var err1, err2 error
		e.Major, err1 = strconv.ParseUint(major, 10, 64)
		e.Minor, err2 = strconv.ParseUint(minor, 10, 64)
		if !ok || err1 != nil || err2 != nil {
			continue
		}
		for _, kv := range f[1:] {
			key, value, _ := strings.Cut(kv, "=")
			var err error
			if e.Value, err = strconv.ParseUint(value, 10, 64); err != nil {
				continue
			}
			list := &b.IoServicedRecursive
			switch key {
			case "rbytes", "rios":
				e.Op = "Read"
			case "wbytes", "wios":
				e.Op = "Write"
			default:
				continue
			}
			if strings.HasSuffix(key, "bytes") {
				list = &b.IoServiceBytesRecursive
			}
			*list = append(*list, e)
		}
	}
}

func (c cgroup) hugetlb(pages map[string]HugetlbStats) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		size, ok := strings.CutPrefix(e.Name(), "hugetlb.")
		if size, ok2 := strings.CutSuffix(size, ".current"); ok && ok2 && !strings.Contains(size, ".") {
			pages[size] = HugetlbStats{
				Usage: c.figure("hugetlb." + size + ".current"), Failcnt: c.keyed("hugetlb." + size + ".events")["max"],
			}
		}
	}
}

// figure reads a file with one number; "max" is the largest, none is 0.
func (c cgroup) figure(file string) uint64 {
	b, err := readFile(c.dir + "/" + file)
	if err != nil {
		return 0
	}
	v := firstField(b)
	if v == "max" {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// keyed reads a file of lines of a name and a number, nil where there is none.
func (c cgroup) keyed(file string) map[string]uint64 {
	b, err := readFile(c.dir + "/" + file)
	if err != nil {
		return nil
	}
	m := make(map[string]uint64)
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			m[key] = n
		}
	}
	return m
}

// pressure reads a file of pressure stall information (Linux 4.20), nil where
// the kernel does without.
func (c cgroup) pressure(file string) *PSIStats {
	b, err := readFile(c.dir + "/" + file)
	if err != nil {
		return nil
	}
	var p PSIStats
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var d *PSIData
		switch f[0] {
		case "some":
			d = &p.Some
		case "full":
			d = &p.Full
		default:
			continue
		}
		for _, kv := range f[1:] {
			key, value, _ := strings.Cut(kv, "=")
			if key == "total" {
				d.Total, _ = strconv.ParseUint(value, 10, 64)
				continue
			}
			n, _ := strconv.ParseFloat(value, 64)
			switch key {
			case "avg10":
				d.Avg10 = n
			case "avg60":
				d.Avg60 = n
			case "avg300":
				d.Avg300 = n
			}
		}
	}
	return &p
}

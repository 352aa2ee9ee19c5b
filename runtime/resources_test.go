package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func u64(n uint64) *uint64 { return &n }
func u16(n uint16) *uint16 { return &n }
func u32(n uint32) *uint32 { return &n }

func yes() *bool { b := true; return &b }

func TestControls(t *testing.T) {
	throttle := func(major, minor int64, rate uint64) []specs.LinuxThrottleDevice {
		d := specs.LinuxThrottleDevice{Rate: rate}
		d.Major, d.Minor = major, minor
		return []specs.LinuxThrottleDevice{d}
	}
	weight := specs.LinuxWeightDevice{Weight: u16(500)}
	weight.Major, weight.Minor = 8, 0
	for _, c := range []struct {
		name string
		r    specs.LinuxResources
		want string // file=value …
	}{
		{"nothing", specs.LinuxResources{}, ""},
		{"pids", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: num(7)}}, "pids.max=7"},
		{"pids without limit", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: num(-1)}}, "pids.max=max"},
		{"pids not asked for", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: num(0)}}, ""},
		{"memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(100), Reservation: num(50), Swap: num(150)}},
			"memory.swap.max=50,memory.max=100,memory.low=50"},
		{"no swap", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(100), Swap: num(100)}}, "memory.swap.max=0,memory.max=100"},
		{"swap unlimited", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(100), Swap: num(-1)}}, "memory.swap.max=max,memory.max=100"},
		{"memory unlimited", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(-1)}}, "memory.swap.max=max,memory.max=max"},
		//lint:ignore SA1019 it is what is tested
		{"kernel memory is passed over", specs.LinuxResources{Memory: &specs.LinuxMemory{Kernel: num(1), KernelTCP: num(1), UseHierarchy: yes()}}, ""},
		{"cpu", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: u64(1024), Quota: num(50000), Period: u64(100000), Burst: u64(1000), Cpus: "0-1", Mems: "0"}},
			"cpu.weight=100,cpu.max.burst=1000,cpu.max=50000 100000,cpu.max.burst=1000,cpuset.cpus=0-1,cpuset.mems=0"},
		{"quota alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: num(50000)}}, "cpu.max=50000"},
		{"period alone", specs.LinuxResources{CPU: &specs.LinuxCPU{Period: u64(200000)}}, "cpu.max=max 200000"},
		{"no quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: num(-1)}}, "cpu.max=max"},
		{"zeros ask for nothing", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: num(0), Period: u64(0), Shares: u64(0), RealtimeRuntime: num(0)}}, ""},
		{"idle has no weight", specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: num(1), Shares: u64(2048)}}, "cpu.idle=1"},
		{"io", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: u16(10), WeightDevice: []specs.LinuxWeightDevice{weight},
			ThrottleReadBpsDevice: throttle(8, 0, 1000), ThrottleWriteBpsDevice: throttle(8, 0, 2000),
			ThrottleReadIOPSDevice: throttle(8, 16, 30), ThrottleWriteIOPSDevice: throttle(8, 16, 0)}},
			"io.bfq.weight=10|io.weight=1,io.bfq.weight=8:0 500|io.weight=8:0 4950,io.max=8:0 rbps=1000,io.max=8:0 wbps=2000,io.max=8:16 riops=30,io.max=8:16 wiops=max"},
		{"huge pages", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4096}}}, "hugetlb.2MB.max=4096,hugetlb.2MB.rsvd.max=4096"},
		{"rdma", specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"mlx5_1": {HcaHandles: u32(3), HcaObjects: u32(10000)}}}, "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"},
		{"unified comes last", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(100)}, Unified: map[string]string{"memory.max": "200", "cpu.weight": "7"}},
			"memory.max=100,cpu.weight=7,memory.max=200"},
	} {
		list, err := controls(&c.r)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, ctl := range list {
			s := ctl.file + "=" + ctl.value
			if ctl.orElse != nil {
				s += "|" + ctl.orElse.file + "=" + ctl.orElse.value
			}
			got = append(got, s)
		}
		if d := cmp.Diff(c.want, strings.Join(got, ",")); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestControlsRefused(t *testing.T) {
	leaf := specs.LinuxWeightDevice{LeafWeight: u16(10)}
	for name, r := range map[string]specs.LinuxResources{
		"network class":      {Network: &specs.LinuxNetwork{ClassID: u32(1)}},
		"network priorities": {Network: &specs.LinuxNetwork{Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 1}}}},
		"realtime":           {CPU: &specs.LinuxCPU{RealtimeRuntime: num(1)}},
		"realtime period":    {CPU: &specs.LinuxCPU{RealtimePeriod: u64(1)}},
		"swappiness":         {Memory: &specs.LinuxMemory{Swappiness: u64(60)}},
		"oom killer":         {Memory: &specs.LinuxMemory{DisableOOMKiller: yes()}},
		"leaf weight":        {BlockIO: &specs.LinuxBlockIO{LeafWeight: u16(10)}},
		"device leaf weight": {BlockIO: &specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{leaf}}},
	} {
		if _, err := controls(&r); !errors.Is(err, ErrNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]specs.LinuxResources{
		"swap without memory":   {Memory: &specs.LinuxMemory{Swap: num(1)}},
		"swap less than memory": {Memory: &specs.LinuxMemory{Limit: num(2), Swap: num(1)}},
		"swap of no limit":      {Memory: &specs.LinuxMemory{Limit: num(-1), Swap: num(1)}},
		"path":                  {Unified: map[string]string{"../memory.max": "1"}},
		"no controller":         {Unified: map[string]string{"memory": "1"}},
	} {
		if _, err := controls(&r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// fakeCgroup is a directory with files of a cgroup: what is written stays.
func fakeCgroup(t *testing.T, files map[string]string) cgroup {
	t.Helper()
	dir := t.TempDir()
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return cgroup{dir}
}

func TestLimitWithoutController(t *testing.T) {
	c := fakeCgroup(t, map[string]string{"cgroup.controllers": "cpu pids\n", "io.weight": ""})
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(1 << 20)}}
	err := c.limit(r, false)
	if !errors.Is(err, ErrNotSupported) || !strings.HasPrefix(err.Error(), "set memory.max to 1048576: memory.max: not supported here: needs the controller memory in ") {
		t.Errorf("memory.max: %v", err)
	}
	if err := c.limit(r, true); err != nil {
		t.Errorf("in a delegated leaf: %v", err)
	}
	err = c.limit(&specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: num(1)}}, false)
	if err == nil || !strings.Contains(err.Error(), "needs a kernel with cpu.idle") {
		t.Errorf("cpu.idle: %v", err)
	}
	// What is asked for is what there is without the file.
	if err := c.limit(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: num(-1)}, Memory: &specs.LinuxMemory{Limit: num(-1)}}, false); err != nil {
		t.Errorf("no limits: %v", err)
	}
	if err := c.limit(&specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: u16(1000)}}, false); err != nil {
		t.Errorf("io.weight: %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(c.dir, "io.weight")); string(b) != "10000" {
		t.Errorf("io.weight: %q", b)
	}
}

func TestCompleted(t *testing.T) {
	c := fakeCgroup(t, map[string]string{"cpu.max": "20000 100000\n", "memory.max": "1000\n", "memory.swap.max": "500\n", "memory.current": "400\n"})
	ctr := &Container{rec: record{ID: "x", Cgroup: c.dir}}
	r, err := ctr.Completed(&specs.LinuxResources{CPU: &specs.LinuxCPU{Period: u64(50000)}, Memory: &specs.LinuxMemory{Limit: num(1200)}})
	if err != nil {
		t.Fatal(err)
	}
	if *r.CPU.Quota != 20000 || *r.Memory.Swap != 1500 {
		t.Errorf("quota %d, swap %d", *r.CPU.Quota, *r.Memory.Swap)
	}
	if r, err = ctr.Completed(&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: num(3000)}}); err != nil || *r.Memory.Limit != 1000 {
		t.Errorf("%+v %v", r.Memory, err)
	}
	check := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: num(300), Swap: num(1500)}}
	if _, err := ctr.Completed(check); err != nil {
		t.Errorf("without a check: %v", err)
	}
	check.Memory.CheckBeforeUpdate = yes()
	if _, err := ctr.Completed(check); err == nil || !strings.Contains(err.Error(), "400 are in use") {
		t.Errorf("with a check: %v", err)
	}
}

func TestStatsOfFiles(t *testing.T) {
	c := fakeCgroup(t, map[string]string{
		"cpu.stat":       "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 5\n",
		"cpu.pressure":   "some avg10=1.50 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
		"memory.current": "100\n", "memory.max": "max\n", "memory.peak": "120\n", "memory.stat": "anon 60\nfile 40\n",
		"memory.swap.current": "10\n", "memory.swap.max": "50\n", "memory.events": "low 0\nmax 3\noom_kill 2\n",
		"pids.current": "4\n", "pids.max": "max\n",
		"io.stat":             "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n",
		"hugetlb.2MB.current": "7\n", "hugetlb.2MB.events": "max 9\n", "hugetlb.2MB.rsvd.current": "1\n",
	})
	s, err := (&Container{rec: record{Cgroup: c.dir}}).Stats()
	if err != nil {
		t.Fatal(err)
	}
	if u := s.CPU.Usage; u.Total != 10000 || u.User != 7000 || u.Kernel != 3000 || s.CPU.Throttling.ThrottledTime != 5000 {
		t.Errorf("cpu: %+v", s.CPU)
	}
	if p := s.CPU.PSI; p == nil || p.Some.Avg10 != 1.5 || p.Some.Total != 42 || p.Full.Total != 1 {
		t.Errorf("psi: %+v", p)
	}
	if m := s.Memory; m.Usage.Usage != 100 || m.Usage.Limit != ^uint64(0) || m.Usage.Max != 120 || m.Usage.Failcnt != 3 ||
		m.Cache != 40 || m.Swap.Usage != 110 || m.Swap.Limit != ^uint64(0) || m.Raw["anon"] != 60 {
		t.Errorf("memory: %+v", m)
	}
	if s.Pids.Current != 4 || s.Pids.Limit != 0 {
		t.Errorf("pids: %+v", s.Pids)
	}
	want := BlkioStats{IoServiceBytesRecursive: []BlkioEntry{{8, 0, "Read", 1}, {8, 0, "Write", 2}}, IoServicedRecursive: []BlkioEntry{{8, 0, "Read", 3}, {8, 0, "Write", 4}}}
	if d := cmp.Diff(want, s.Blkio); d != "" {
		t.Error(d)
	}
	if h := s.Hugetlb["2MB"]; len(s.Hugetlb) != 1 || h.Usage != 7 || h.Failcnt != 9 {
		t.Errorf("hugetlb: %+v", s.Hugetlb)
	}
}

//go:build !lean

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/unit"
)

func TestScopeName(t *testing.T) {
	for path, want := range map[string][2]string{
		"machine.slice:libpod:abc": {"machine.slice", "libpod-abc.scope"}, ":docker:abc": {"system.slice", "docker-abc.scope"},
		"a-b.slice::abc": {"a-b.slice", "abc.scope"}, "": {"system.slice", "berth-runtime-id.scope"},
	} {
		slice, name, err := scopeName("id", path, true)
		if err != nil || slice != want[0] || name != want[1] {
			t.Errorf("%q: %s %s %v", path, slice, name, err)
		}
	}
	if slice, _, _ := scopeName("id", "", false); slice != "user.slice" {
		t.Errorf("for a user: %s", slice)
	}
	for _, path := range []string{"/a/b", "a:b", "a:b:c:d", "x.slice:p:y.slice"} {
		if _, _, err := scopeName("id", path, true); err == nil {
			t.Errorf("%q: accepted", path)
		}
	}
}

func TestScopeOf(t *testing.T) {
	p := func(n int64) *int64 { return &n }
	u := func(n uint64) *uint64 { return &n }
	s := &specs.Spec{
		Annotations: map[string]string{"org.systemd.property.TimeoutStopSec": "uint64 10", "other": "x"},
		Linux: &specs.Linux{CgroupsPath: "machine.slice:p:n", Resources: &specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Limit: p(100), Reservation: p(50), Swap: p(100)},
			CPU:     &specs.LinuxCPU{Shares: u(1024), Quota: p(150000), Period: u(100000), Cpus: "0-1"},
			Pids:    &specs.LinuxPids{Limit: p(-1)},
			Unified: map[string]string{"memory.high": "80", "pids.max": "7", "cpu.max": "50000 100000", "memory.oom.group": "1"},
		}},
	}
	got, err := scopeOf("id", s)
	if err != nil {
		t.Fatal(err)
	}
	props, err := unit.PropertiesOf(got)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]any{}
	for _, p := range props {
		have[p.Name] = p.Value
	}
	want := map[string]any{
		"Description": "Container id", "CollectMode": "inactive-or-failed", "DefaultDependencies": false, "Slice": "machine.slice", "Delegate": true,
		"CPUAccounting": true, "MemoryAccounting": true, "IOAccounting": true, "TasksAccounting": true,
		"MemoryMax": uint64(100), "MemoryLow": uint64(50), "MemorySwapMax": uint64(0), "MemoryHigh": uint64(80),
		"CPUWeight": uint64(100), "CPUQuotaPerSecUSec": uint64(500000), "CPUQuotaPeriodUSec": uint64(100000), "AllowedCPUs": []byte{3},
		"TasksMax": uint64(7), "TimeoutStopUSec": uint64(10000000),
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Error(d)
	}
	s.Annotations["org.systemd.property.X"] = "uint64"
	if _, err := scopeOf("id", s); err == nil {
		t.Error("a property without a value")
	}
}

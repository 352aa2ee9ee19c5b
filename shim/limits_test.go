package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berthrun/berth/container"
)

// fakeCgroup is a unit's cgroup of plain files, with a leaf that has them all.
func fakeCgroup(t *testing.T, values map[string]string) unit {
	t.Helper()
	u := unit{mount: t.TempDir(), cgroup: "/berth-web.service"}
	if err := os.MkdirAll(u.leaf(), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(u.dir(), "cgroup.controllers"), "cpuset cpu memory pids\n")
	write(filepath.Join(u.dir(), "cgroup.subtree_control"), "")
	for _, f := range limitFiles {
		value, ok := values[f.name]
		if !ok {
			value = f.none
		}
		write(filepath.Join(u.dir(), f.name), value+"\n")
		write(filepath.Join(u.leaf(), f.name), "")
	}
	return u
}

// leafHas are the files of the leaf that were written to.
func leafHas(t *testing.T, u unit) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, f := range limitFiles {
		data, err := os.ReadFile(filepath.Join(u.leaf(), f.name))
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 0 {
			got[f.name] = strings.TrimSpace(string(data))
		}
	}
	return got
}

func TestCopyLimits(t *testing.T) {
	pids := int64(50)
	r := &container.Record{}
	r.Spec.Resources.PidsLimit = &pids
	for name, tt := range map[string]struct {
		unit, leaf map[string]string
		enabled    string
	}{
		"none":           {map[string]string{}, map[string]string{}, ""},
		"memory":         {map[string]string{"memory.max": "100"}, map[string]string{"memory.max": "100", "memory.high": "max", "memory.low": "0", "memory.min": "0", "memory.swap.max": "max"}, "+memory"},
		"cpu":            {map[string]string{"cpu.max": "5 100"}, map[string]string{"cpu.max": "5 100", "cpu.weight": "100"}, "+cpu"},
		"pids":           {map[string]string{"pids.max": "114"}, map[string]string{"pids.max": "50"}, "+pids"},
		"somebody's own": {map[string]string{"pids.max": "70"}, map[string]string{"pids.max": "70"}, "+pids"},
	} {
		u := fakeCgroup(t, tt.unit)
		if err := u.copyLimits(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.leaf, leafHas(t, u)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if data, err := os.ReadFile(filepath.Join(u.dir(), "cgroup.subtree_control")); err != nil || string(data) != tt.enabled {
			t.Errorf("%s: enabled %q, %v, want %q", name, data, err, tt.enabled)
		}
	}
	// Where the host has the controllers on cgroup v1.
	u := fakeCgroup(t, nil)
	if err := os.WriteFile(filepath.Join(u.dir(), "cgroup.controllers"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := u.copyLimits(r); err != nil || len(leafHas(t, u)) > 0 {
		t.Errorf("without controllers: %v, %v", leafHas(t, u), err)
	}
}

func TestFollowLimits(t *testing.T) {
	s := &shim{rec: &container.Record{}, unit: fakeCgroup(t, map[string]string{"memory.max": "100"})}
	end := s.followLimits()
	for _, value := range []string{"100", "200", "300"} {
		if err := writeCgroup(filepath.Join(s.unit.dir(), "memory.max"), value+"\n"); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(5 * time.Second); leafHas(t, s.unit)["memory.max"] != value; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("the leaf has %v, want memory.max=%s", leafHas(t, s.unit), value)
			}
		}
	}
	end()
	if err := writeCgroup(filepath.Join(s.unit.dir(), "memory.max"), "400\n"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if got := leafHas(t, s.unit)["memory.max"]; got != "300" {
		t.Errorf("the leaf has %s after the end", got)
	}
}

func TestRelease(t *testing.T) {
	u := fakeCgroup(t, nil)
	path := filepath.Join(u.dir(), "cgroup.subtree_control")
	if err := os.WriteFile(path, []byte("memory pids\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := release(u.dir()); err != nil {
		t.Error(err)
	}
	// A plain file keeps what was written over its beginning: the last word.
	if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), "-pids") {
		t.Errorf("%q is written, %v", data, err)
	}
	if err := release(t.TempDir()); err == nil {
		t.Error("no error without a cgroup")
	}
}

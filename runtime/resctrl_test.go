package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A directory that looks like a resctrl file system, with the class "gold".
func fakeResctrl(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{root, filepath.Join(root, "gold")} {
		os.MkdirAll(filepath.Join(dir, "mon_groups"), 0o755)
		os.WriteFile(filepath.Join(dir, "schemata"), []byte("    L3:0=0ff;1=00f\n    MB:0= 20;1= 70\n"), 0o644)
		os.WriteFile(filepath.Join(dir, "tasks"), nil, 0o644)
	}
	return root
}

func TestResctrl(t *testing.T) {
	for name, c := range map[string]struct {
		spec     specs.LinuxIntelRdt
		schemata string // what is written to gold's, or what the error says
		fails    bool
	}{
		"existing":   {specs.LinuxIntelRdt{ClosID: "gold"}, "    L3:0=0ff", false},
		"same":       {specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=ff;1=f", MemBwSchema: "MB:1=70"}, "L3:0=ff;1=f\nMB:1=70\n", false},
		"schemata":   {specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=ff", Schemata: []string{"L2:0=1", "L2:1=1"}}, "L3:0=ff\nL2:0=1\nL2:1=1\n", false},
		"other":      {specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=f0"}, "has not the schema", true},
		"missing":    {specs.LinuxIntelRdt{ClosID: "silver"}, "no such file", true},
		"upwards":    {specs.LinuxIntelRdt{ClosID: "..", MemBwSchema: "MB:0=10"}, "no name of a directory", true},
		"below":      {specs.LinuxIntelRdt{ClosID: "a/b"}, "no name of a directory", true},
		"two lines":  {specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"L3:0=1\nMB:0=10"}}, "more than one line", true},
		"monitoring": {specs.LinuxIntelRdt{ClosID: "gold", EnableMonitoring: true}, "", false},
		"default":    {specs.LinuxIntelRdt{ClosID: "/"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			root := fakeResctrl(t)
			r, err := newResctrl(root, &c.spec, "id")
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), c.schemata) {
					t.Errorf("got %v, want %q", err, c.schemata)
				}
				if _, err := os.Stat(root + "/silver"); err == nil {
					t.Error("a class was made")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(root + "/gold/schemata"); !strings.HasPrefix(string(b), c.schemata) {
				t.Errorf("schemata %q, want %q", b, c.schemata)
			}
			tasks := []string{filepath.Join(root, strings.Trim(c.spec.ClosID, "/"), "tasks")}
			if c.spec.EnableMonitoring {
				mon := root + "/gold/mon_groups/id"
				if r.Mon != mon {
					t.Fatalf("monitoring group %q", r.Mon)
				}
				tasks = append(tasks, mon+"/tasks")
				os.WriteFile(mon+"/tasks", nil, 0o644)
			}
			if err := r.add(4711); err != nil {
				t.Fatal(err)
			}
			for _, f := range tasks {
				if b, _ := os.ReadFile(f); string(b) != "4711" {
					t.Errorf("%s: %q", f, b)
				}
				if strings.Contains(f, "mon_groups") {
					os.Remove(f)
				}
			}
			if err := r.remove(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(root + "/gold/mon_groups"); len(left) > 0 {
				t.Errorf("left %v", left)
			}
			if _, err := os.Stat(root + "/gold"); err != nil {
				t.Error("a class that was there has been removed")
			}
		})
	}
	t.Run("own", func(t *testing.T) {
		root := fakeResctrl(t)
		r, err := newResctrl(root, &specs.LinuxIntelRdt{}, "id")
		if err != nil || r.Group != root+"/id" || !r.Made {
			t.Fatalf("%+v %v", r, err)
		}
		if err := r.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(root + "/id"); err == nil {
			t.Error("left the class of the container alone")
		}
	})
}

// Without the file system, the container is refused.
func TestResctrlRefused(t *testing.T) {
	s := ours(t)
	if isFS(resctrlMount, 0x7655821) {
		t.Skip("this kernel has resctrl mounted")
	}
	r := s.shell(t, func(c *specs.Spec) { c.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "x"} }, "true")
	if r.status == 0 || !strings.Contains(r.err, "linux.intelRdt: not supported here: needs resctrl") {
		t.Error(r)
	}
}

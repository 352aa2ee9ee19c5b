package engine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	sdunit "github.com/coreos/go-systemd/v22/unit"
	"github.com/google/go-cmp/cmp"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/unit"
)

var update = flag.Bool("update", false, "write the golden files")

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func testRecord(name string) *container.Record {
	return &container.Record{
		Version: container.RecordVersion, ID: testID, Name: name, Created: time.Unix(1e9, 0),
		Image:      container.ImageRef{Name: "localhost:5000/nginx:latest", ID: "sha256:abcdef0123"},
		StopSignal: 15, StopTimeout: 10 * time.Second, Log: container.LogConfig{Driver: "journald"},
	}
}

func p[T any](v T) *T { return &v }

func TestLimits(t *testing.T) {
	const inf = unit.Infinity
	plain := func(change func(*unit.Resources)) unit.Resources {
		u := unit.Resources{TasksMax: inf}
		change(&u)
		return u
	}
	for _, tt := range []struct {
		name string
		in   container.Resources
		want unit.Resources
	}{
		{"none", container.Resources{}, plain(func(*unit.Resources) {})},
		{"memory: as much swap again", container.Resources{Memory: 100}, plain(func(u *unit.Resources) { u.MemoryMax, u.MemorySwapMax = 100, p(uint64(100)) })},
		{"memory and swap together", container.Resources{Memory: 100, MemorySwap: 150}, plain(func(u *unit.Resources) { u.MemoryMax, u.MemorySwapMax = 100, p(uint64(50)) })},
		{"no swap", container.Resources{Memory: 100, MemorySwap: 100}, plain(func(u *unit.Resources) { u.MemoryMax, u.MemorySwapMax = 100, p(uint64(0)) })},
		{"any swap", container.Resources{Memory: 100, MemorySwap: -1}, plain(func(u *unit.Resources) { u.MemoryMax, u.MemorySwapMax = 100, p(inf) })},
		{"reservation", container.Resources{MemoryReservation: 7}, plain(func(u *unit.Resources) { u.MemoryLow = 7 })},
		{"cpus", container.Resources{NanoCPUs: 1500000000}, plain(func(u *unit.Resources) { u.CPUQuota = 1.5 })},
		{"cpuset", container.Resources{CPUSetCPUs: "0-3,5", CPUSetMems: "0"}, plain(func(u *unit.Resources) { u.AllowedCPUs, u.AllowedMemoryNodes = "0-3,5", "0" })},
		{"shares", container.Resources{CPUShares: 1024}, plain(func(u *unit.Resources) { u.CPUWeight = 100 })},
		{"pids", container.Resources{PidsLimit: p(int64(100))}, plain(func(u *unit.Resources) { u.TasksMax = 100 + container.ShimTasks })},
		{"any pids", container.Resources{PidsLimit: p(int64(-1))}, plain(func(*unit.Resources) {})},
		{"zero pids", container.Resources{PidsLimit: p(int64(0))}, plain(func(*unit.Resources) {})},
	} {
		if diff := cmp.Diff(tt.want, limits(&tt.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for shares, want := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 512: 59, 1024: 100, 2048: 174, 262144: 10000, 1 << 40: 10000} {
		if got := cpuWeight(shares); got != want {
			t.Errorf("shares %d: got weight %d, want %d", shares, got, want)
		}
	}
}

// A directory of nodes, as /dev/snd, stands for each of them.
func TestDeviceAllowOfDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for name, dev := range map[string]int{"a": 3, "b": 5, "same": 3} {
		if err := syscall.Mknod(filepath.Join(dir, name), syscall.S_IFCHR|0o600, 1<<8|dev); err != nil {
			t.Skipf("cannot make device nodes here: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	base := deviceAllow(new(container.Spec))
	got := deviceAllow(&container.Spec{Devices: []container.Device{{Source: dir, Access: "rw"}}})[len(base):]
	if diff := cmp.Diff([]unit.Device{{Path: "/dev/char/1:3", Access: "rw"}, {Path: "/dev/char/1:5", Access: "rw"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRestart(t *testing.T) {
	for policy, want := range map[string]string{
		"": "on-abnormal", "no": "on-abnormal", "on-failure": "on-failure", "always": "always", "unless-stopped": "always",
	} {
		if got := restart(container.RestartPolicy{Name: policy}); got != want {
			t.Errorf("%q: got %s, want %s", policy, got, want)
		}
	}
}

func TestDeviceAllow(t *testing.T) {
	base := deviceAllow(new(container.Spec))
	for _, d := range base {
		if strings.HasSuffix(d.Path, "*") {
			t.Errorf("every container may use %+v", d)
		}
	}
	got := deviceAllow(&container.Spec{Devices: []container.Device{{Source: "/dev/null", Destination: "/dev/x", Access: "r"}, {Source: "/dev/zero"}}})
	want := append(slices.Clone(base), unit.Device{Path: "/dev/null", Access: "r"}, unit.Device{Path: "/dev/zero", Access: "rwm"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Not below /dev: by number.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	if got := deviceAllow(&container.Spec{Devices: []container.Device{{Source: link}}})[len(base):]; len(got) != 1 || got[0].Path != "/dev/char/1:3" {
		t.Errorf("a node outside of /dev: got %+v", got)
	}
	if got := deviceAllow(&container.Spec{Devices: []container.Device{{Source: "/dev/none-such"}}})[len(base):]; len(got) != 1 {
		t.Errorf("a node that is not there yet: got %+v", got)
	}
	for _, c := range []string{"MKNOD", "cap_mknod", "ALL"} {
		got := deviceAllow(&container.Spec{CapAdd: []string{"CHOWN", c}})
		want := append(slices.Clone(base), unit.Device{Path: "char-*", Access: "m"}, unit.Device{Path: "block-*", Access: "m"})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("cap-add %s (-want +got):\n%s", c, diff)
		}
	}
}

func TestDevicePolicy(t *testing.T) {
	r := testRecord("web")
	if s := ownSettings(r); s.Resources.DevicePolicy != "closed" || len(s.Resources.DeviceAllow) != 0 {
		t.Errorf("got %+v", s.Resources)
	}
	r.Spec.Privileged = true
	if s := ownSettings(r); s.Resources.DevicePolicy != "auto" || len(s.Resources.DeviceAllow) != 0 {
		t.Errorf("privileged: got %+v", s.Resources)
	}
}

func TestUnitNames(t *testing.T) {
	for _, name := range []string{"web", "a.b-c_d", strings.Repeat("x", container.MaxName)} {
		if err := container.CheckName(name); err != nil {
			t.Fatal(err)
		}
		for _, u := range []string{UnitName(name), TemplateName(name), socketName(UnitName(name)), sweepName(name)} {
			if len(u) > 255 {
				t.Errorf("%s is too long", u)
			}
		}
	}
	if got := socketName(TemplateName("web")); got != "container@web.socket" {
		t.Errorf("got %s", got)
	}
}

// TestDropIn is what container@NAME.service has of its own.
func TestDropIn(t *testing.T) {
	full := testRecord("full")
	full.Spec.Resources = container.Resources{
		Memory: 64 << 20, MemorySwap: 128 << 20, MemoryReservation: 32 << 20, NanoCPUs: 1500000000, CPUShares: 512,
		CPUSetCPUs: "0-1", CPUSetMems: "0", PidsLimit: p(int64(100)),
	}
	full.Spec.Slice = "web.slice"
	full.Spec.Devices = []container.Device{{Source: "/dev/fuse", Access: "rw"}}
	full.Restart = container.RestartPolicy{Name: "always"}
	full.StopTimeout = 90 * time.Second
	full.Image.Name = "a%b\"c d\\" // a tag cannot be that; the file must not break all the same
	privileged := testRecord("privileged")
	privileged.Spec.Privileged = true
	privileged.Image.Name = ""
	privileged.Rootfs.Path = "/srv/root fs"
	for name, r := range map[string]*container.Record{"full": full, "privileged": privileged} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := WriteDropIn(dir, r); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "container@"+r.Name+".service.d", dropInFile))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".conf")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
			}
		})
	}
}

// A container that is as the template is has no drop-in: one would make systemd
// read all unit directories again.
func TestNoDropIn(t *testing.T) {
	dir := t.TempDir()
	r := plainRecord("web")
	r.Image.Name = "localhost:5000/nginx:latest"
	if err := WriteDropIn(dir, r); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v", entries, err)
	}
}

// settings are the lines of a unit file: Section.Key=value.
func settings(t *testing.T, text string) map[string][]string {
	t.Helper()
	options, err := sdunit.DeserializeOptions(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]string{}
	for _, o := range options {
		key := o.Section + "." + o.Name
		m[key] = append(m[key], o.Value)
	}
	return m
}

// The template says what the transient unit is told, in systemd's words.
func TestTemplate(t *testing.T) {
	text, err := os.ReadFile("../contrib/systemd/container@.service")
	if err != nil {
		t.Fatal(err)
	}
	template := settings(t, string(text))
	// %i and the name say the same in these two.
	all, err := supervised(plainRecord("NAME"), 257).DropIn(257)
	if err != nil {
		t.Fatal(err)
	}
	want := settings(t, strings.ReplaceAll(all, "NAME", "%i"))
	// What this door has and the other has not, or says otherwise.
	got := map[string][]string{}
	for key, v := range template {
		switch key {
		case "Unit.Description", "Unit.Documentation", "Unit.Wants", "Unit.After",
			"Service.ExecStart", "Service.ExecCondition", "Service.ExecStopPost", "Install.WantedBy":
			continue
		}
		got[key] = v
	}
	if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
		t.Errorf("(-transient unit +template):\n%s", diff)
	}
}

// normal writes values in one way: systemd takes more than one.
func normal(m map[string][]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = strings.NewReplacer("[0us]", "[0]", "[20000000us]", "[20s]").Replace(fmt.Sprint(v))
	}
	return out
}

func TestTemplateSocket(t *testing.T) {
	text, err := os.ReadFile("../contrib/systemd/container@.socket")
	if err != nil {
		t.Fatal(err)
	}
	got := settings(t, string(text))
	h := &Host{Config: configAt(t.TempDir()), Containers: container.Open(container.DefaultRoot, container.DefaultRun)}
	aux := transient(h, testRecord("web"), 257).Aux[0]
	other, err := aux.DropIn(257)
	if err != nil {
		t.Fatal(err)
	}
	want := settings(t, other)
	for _, m := range []map[string][]string{got, want} {
		for _, key := range []string{"Unit.Description", "Unit.Documentation", "Unit.BindsTo", "Unit.PartOf", "Unit.After", "Socket.ListenStream"} {
			delete(m, key)
		}
		for _, key := range []string{"Unit.OnSuccess", "Unit.OnFailure"} {
			if len(m[key]) != 1 || !slices.Contains([]string{"berth-sweep@web.service", "container-sweep@%i.service"}, m[key][0]) {
				t.Errorf("%s is %v", key, m[key])
			}
			delete(m, key)
		}
	}
	if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
		t.Errorf("(-transient unit +template):\n%s", diff)
	}
	if l, want := settings(t, string(text))["Socket.ListenStream"], h.Containers.ControlAt("%i"); len(l) != 1 || l[0] != want {
		t.Errorf("listens at %v, clients connect to %s", l, want)
	}
}

// Both doors' sweeps run where there is something to do.
func TestTemplateSweep(t *testing.T) {
	text, err := os.ReadFile("../contrib/systemd/container-sweep@.service")
	if err != nil {
		t.Fatal(err)
	}
	got := settings(t, string(text))
	h := &Host{Config: configAt(t.TempDir()), Containers: container.Open(container.DefaultRoot, container.DefaultRun)}
	r := testRecord("web")
	aux := transient(h, r, 257).Aux[1]
	other, err := aux.DropIn(257)
	if err != nil {
		t.Fatal(err)
	}
	want := settings(t, other)
	if c := want["Unit.ConditionPathExists"]; len(c) != 1 || c[0] != h.Containers.RunDir(r.ID) {
		t.Errorf("condition of the transient unit: %v", c)
	}
	link := filepath.Join(h.Containers.Root(), "names", "%i", container.RunLink)
	if c := got["Unit.ConditionPathExists"]; len(c) != 1 || c[0] != link {
		t.Errorf("condition of the template: %v", c)
	}
	for _, m := range []map[string][]string{got, want} {
		for _, key := range []string{"Unit.Description", "Unit.Documentation", "Unit.ConditionPathExists", "Service.ExecStart"} {
			delete(m, key)
		}
	}
	if diff := cmp.Diff(normal(want), normal(got)); diff != "" {
		t.Errorf("(-transient unit +template):\n%s", diff)
	}
}

// Systemd before 254 refuses what it does not know.
func TestOldVersions(t *testing.T) {
	h := &Host{Config: configAt(t.TempDir()), Containers: container.Open("/r", "/run/r")}
	for _, version := range []int{252, 253, 254, 255, 257, 260} {
		s := transient(h, testRecord("web"), version)
		for _, u := range append([]unit.Spec{*s}, s.Aux...) {
			if _, err := u.DropIn(version); err != nil {
				t.Errorf("systemd %d: %v", version, err)
			}
		}
	}
}

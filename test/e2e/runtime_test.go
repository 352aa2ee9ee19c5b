package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// These are about berth-runtime by itself, as another engine runs it: without a unit of berth around the container. What
// needs no controllers is tested in package runtime.

const runtimeBin = "/usr/libexec/berth/berth-runtime"

// bundle makes a bundle with busybox in it.
func (h *host) bundle(edit func(*specs.Spec), args ...string) string {
	h.Helper()
	dir := h.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			h.Fatal(err)
		}
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		h.Skip("needs busybox-static")
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/bin/busybox"), b, 0o755); err != nil {
		h.Fatal(err)
	}
	for _, name := range []string{"sh", "sleep", "true", "cat", "tail", "grep"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", name)); err != nil {
			h.Fatal(err)
		}
	}
	if r := h.run(runtimeBin, "spec", "--bundle", dir); r.code != 0 {
		h.Fatal(r)
	}
	path := filepath.Join(dir, "config.json")
	var s specs.Spec
	if b, err = os.ReadFile(path); err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		h.Fatal(err)
	}
	s.Version = "1.0.2"
	s.Process.Terminal = false
	s.Process.Args = args
	if edit != nil {
		edit(&s)
	}
	if b, err = json.Marshal(&s); err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		h.Fatal(err)
	}
	return dir
}

// detached runs a command that leaves a process behind, with its output.
func (h *host) detached(name string, args ...string) result {
	h.Helper()
	out, err := os.Create(filepath.Join(h.TempDir(), "output"))
	if err != nil {
		h.Fatal(err)
	}
	defer out.Close()
	r := h.start(func(c *exec.Cmd) { c.Stdout, c.Stderr = out, out }, name, args...).end()
	b, _ := os.ReadFile(out.Name())
	r.stderr = string(b)
	return r
}

// run runs a command to its end.
func (h *host) run(name string, args ...string) result {
	h.Helper()
	return h.start(nil, name, args...).end()
}

// must runs a command that has to succeed, and returns what it wrote.
func (h *host) must(name string, args ...string) string {
	h.Helper()
	r := h.run(name, args...)
	if r.code != 0 {
		h.Fatal(r)
	}
	return r.stdout
}

// value reads a file of a cgroup.
func value(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// controllers skips a test on a machine whose cgroup v2 has none.
func (h *host) controllers() {
	h.Helper()
	if !h.VM {
		h.Skip("needs cgroup v2 controllers: a VM")
	}
}

func ptr[T any](v T) *T { return &v }

// disk is a block device that limits can be set for.
func disk(t testing.TB) (major, minor int64) {
	t.Helper()
	for _, name := range []string{"vda", "sda", "loop0"} {
		if b, err := os.ReadFile("/sys/block/" + name + "/dev"); err == nil {
			if _, err := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err == nil {
				return major, minor
			}
		}
	}
	t.Skip("needs a block device")
	return 0, 0
}

func limitsOf(major, minor int64) *specs.LinuxResources {
	rate := specs.LinuxThrottleDevice{Rate: 1 << 20}
	rate.Major, rate.Minor = major, minor
	return &specs.LinuxResources{
		Devices:        []specs.LinuxDeviceCgroup{{Access: "rwm"}},
		Memory:         &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Reservation: ptr(int64(32 << 20)), Swap: ptr(int64(96 << 20))},
		CPU:            &specs.LinuxCPU{Shares: ptr(uint64(2048)), Quota: ptr(int64(50000)), Period: ptr(uint64(200000)), Cpus: "0", Mems: "0"},
		Pids:           &specs.LinuxPids{Limit: ptr(int64(50))},
		BlockIO:        &specs.LinuxBlockIO{Weight: ptr(uint16(500)), ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{rate}, ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{rate}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		Unified:        map[string]string{"memory.high": "50331648"},
	}
}

// Every limit of a configuration is in the cgroup, whose path and controllers the runtime makes; and update changes it.
func TestRuntimeLimits(t *testing.T) {
	h := product(t)
	h.controllers()
	major, minor := disk(t)
	for _, name := range []string{runtimeBin, "crun", "runc"} {
		path := "/deep/er/" + filepath.Base(name)
		dir := "/sys/fs/cgroup" + path
		b := h.bundle(func(s *specs.Spec) {
			s.Linux.CgroupsPath = path
			s.Linux.Resources = limitsOf(major, minor)
		}, "sleep", "600")
		state := t.TempDir()
		do := func(args ...string) result { return h.run(name, append([]string{"--root", state}, args...)...) }
		if r := h.detached(name, "--root", state, "run", "-d", "--bundle", b, "lim"); r.code != 0 {
			t.Fatal(r)
		}
		for file, want := range map[string]string{
			"memory.max": "67108864", "memory.low": "33554432", "memory.swap.max": "33554432", "memory.high": "50331648",
			"cpu.max": "50000 200000", "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "50", "hugetlb.2MB.max": "4194304",
			"io.max": fmt.Sprintf("%d:%d rbps=1048576 wbps=max riops=max wiops=1048576", major, minor),
		} {
			if got := value(dir, file); got != want {
				t.Errorf("%s: %s is %q, want %q", name, file, got, want)
			}
		}
		if name == runtimeBin {
			if got := value(dir, "cpu.weight"); got != "174" {
				t.Errorf("cpu.weight is %q", got)
			}
			if w, b := value(dir, "io.weight"), value(dir, "io.bfq.weight"); w != "default 4950" && b != "default 500" {
				t.Errorf("io.weight is %q, io.bfq.weight %q", w, b)
			}
		}
		r := do("update", "--memory", "80m", "--memory-swap", "100m", "--cpu-quota", "20000", "--pids-limit", "60", "--cpu-share", "1024", "lim")
		if r.code != 0 && name != "crun" { // 1.21 cannot read the JSON that it makes of its flags
			t.Error(r)
		}
		for file, want := range map[string]string{"memory.max": "83886080", "memory.swap.max": "20971520", "cpu.max": "20000 200000", "pids.max": "60"} {
			if got := value(dir, file); got != want && name == runtimeBin {
				t.Errorf("%s: after update %s is %q, want %q", name, file, got, want)
			}
		}
		if name == runtimeBin {
			h.updates(do, dir)
		}
		if r := do("delete", "-f", "lim"); r.code != 0 {
			t.Error(r)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: left its cgroup", name)
		}
	}
	os.Remove("/sys/fs/cgroup/deep/er")
	os.Remove("/sys/fs/cgroup/deep")
}

// updates is the rest of update: resources by a file, a check before, and what is refused leaves everything as it was.
func (h *host) updates(do func(...string) result, dir string) {
	h.Helper()
	file := filepath.Join(h.TempDir(), "resources")
	apply := func(json string) result {
		if err := os.WriteFile(file, []byte(json), 0o644); err != nil {
			h.Fatal(err)
		}
		return do("update", "-r", file, "lim")
	}
	if r := apply(`{"cpu":{"period":100000,"burst":10000,"idle":0},"unified":{"memory.high":"max"},"pids":{"limit":-1}}`); r.code != 0 {
		h.Error(r)
	}
	for file, want := range map[string]string{"cpu.max": "20000 100000", "cpu.max.burst": "10000", "memory.high": "max", "pids.max": "max", "memory.max": "83886080"} {
		if got := value(dir, file); got != want {
			h.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if r := apply(`{"memory":{"limit":4096,"swap":8192,"checkBeforeUpdate":true}}`); r.code != 1 || !strings.Contains(r.stderr, "are in use") {
		h.Error(r)
	}
	if got := value(dir, "memory.max"); got != "83886080" {
		h.Errorf("after a refusal memory.max is %q", got)
	}
	if r := apply(`{"cpu":{"idle":1}}`); r.code != 0 || value(dir, "cpu.idle") != "1" {
		h.Errorf("%v\ncpu.idle is %q", r, value(dir, "cpu.idle"))
	}
}

// events tells of each kill for want of memory, also of the last one.
func TestRuntimeEventsOfOOM(t *testing.T) {
	h := product(t)
	h.controllers()
	b := h.bundle(func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/glutton"
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(24 << 20)), Swap: ptr(int64(24 << 20))}
	}, "sh", "-c", "sleep 3; tail -c 200m /dev/zero; exec tail -c 200m /dev/zero")
	state := t.TempDir()
	if r := h.detached(runtimeBin, "--root", state, "run", "-d", "--bundle", b, "glutton"); r.code != 0 {
		t.Fatal(r)
	}
	r := h.run(runtimeBin, "--root", state, "events", "--interval", "500ms", "glutton")
	var e struct {
		Type string
		Data struct {
			Memory struct {
				Usage struct{ Limit uint64 }
			}
		}
	}
	ooms, stats := 0, 0
	for line := range strings.Lines(r.stdout) {
		e.Data.Memory.Usage.Limit = 0
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case e.Type == "oom":
			ooms++
		case e.Data.Memory.Usage.Limit == 24<<20:
			stats++
		}
	}
	if r.code != 0 || ooms != 2 || stats == 0 {
		t.Errorf("%v\n%d kills, want 2; %d times statistics with the limit", r, ooms, stats)
	}
	h.must(runtimeBin, "--root", state, "delete", "glutton")
}

// A limit that cannot be set fails the start, by its name, and leaves nothing.
func TestRuntimeLimitThatCannotHold(t *testing.T) {
	h := product(t)
	state := t.TempDir()
	path := "/cannot"
	if h.VM {
		// A cgroup with a process of its own gives its children no controllers.
		if err := os.MkdirAll("/sys/fs/cgroup/busy", 0o755); err != nil {
			t.Fatal(err)
		}
		c := h.start(nil, "sleep", "600")
		if err := os.WriteFile("/sys/fs/cgroup/busy/cgroup.procs", fmt.Append(nil, c.Process.Pid), 0o644); err != nil {
			t.Fatal(err)
		}
		defer func() {
			c.Process.Kill()
			c.end()
			os.Remove("/sys/fs/cgroup/busy")
		}()
		path = "/busy/cannot"
	}
	b := h.bundle(func(s *specs.Spec) {
		s.Linux.CgroupsPath = path
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(24 << 20))}
	}, "true")
	r := h.run(runtimeBin, "--root", state, "run", "--bundle", b, "cannot")
	if r.code != 1 || !strings.Contains(r.stderr, "set memory.max to 25165824: memory.max: not supported here: needs the controller memory in ") {
		t.Error(r)
	}
	if left, _ := os.ReadDir(state); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat("/sys/fs/cgroup" + path); err == nil {
		t.Error("left its cgroup")
	}
}

// With --systemd-cgroup the container is in a scope of systemd's, which has the limits; delete takes it away.
func TestRuntimeSystemdCgroup(t *testing.T) {
	h := product(t)
	state := t.TempDir()
	do := func(args ...string) result {
		return h.run(runtimeBin, append([]string{"--systemd-cgroup", "--root", state}, args...)...)
	}
	const scope = "test-web.scope"
	for _, userns := range []bool{false, true} {
		b := h.bundle(func(s *specs.Spec) {
			s.Linux.CgroupsPath = "machine.slice:test:web"
			s.Annotations = map[string]string{"org.systemd.property.TimeoutStopUSec": "uint64 7000000", "org.systemd.property.Description": "'the web'"}
			s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Access: "rwm"}}
			if h.VM {
				s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))}
				s.Linux.Resources.CPU = &specs.LinuxCPU{Shares: ptr(uint64(2048)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}
				s.Linux.Resources.Pids = &specs.LinuxPids{Limit: ptr(int64(50))}
				s.Linux.Resources.Unified = map[string]string{"memory.oom.group": "1"}
			}
			if userns {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
				s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
				s.Linux.GIDMappings = s.Linux.UIDMappings
			}
		}, "sleep", "600")
		if userns {
			os.Chmod(filepath.Dir(b), 0o755)
			os.Chmod(b, 0o755)
			h.must("chown", "-R", "100000:100000", filepath.Join(b, "rootfs"))
		}
		if r := h.detached(runtimeBin, "--systemd-cgroup", "--root", state, "create", "--bundle", b, "web"); r.code != 0 {
			t.Fatal(r)
		}
		if r := do("start", "web"); r.code != 0 {
			t.Fatal(r)
		}
		props := h.must("systemctl", "show", "-p", "ActiveState,Slice,Description,TimeoutStopUSec,Delegate,ControlGroup", scope)
		for _, want := range []string{"ActiveState=active", "Slice=machine.slice", "Description=the web", "TimeoutStopUSec=7s", "Delegate=yes", "ControlGroup=/machine.slice/test-web.scope"} {
			if !slices.Contains(strings.Split(strings.TrimSpace(props), "\n"), want) {
				t.Errorf("the scope has no %s:\n%s", want, props)
			}
		}
		var st specs.State
		if err := json.Unmarshal([]byte(do("state", "web").stdout), &st); err != nil {
			t.Fatal(err)
		}
		if got := value(fmt.Sprintf("/proc/%d", st.Pid), "cgroup"); !strings.HasSuffix(got, "0::/machine.slice/test-web.scope") {
			t.Errorf("the init is in %s", got)
		}
		if r := do("exec", "web", "grep", "-q", "^0::/$", "/proc/self/cgroup"); r.code != 0 {
			t.Errorf("exec: %v", r)
		}
		if h.VM {
			h.scopeLimits(do, scope)
		}
		// Without the flag it is known, too.
		if r := h.run(runtimeBin, "--root", state, "delete", "--force", "web"); r.code != 0 {
			t.Error(r)
		}
		if got := strings.TrimSpace(h.must("systemctl", "show", "-p", "LoadState", "--value", scope)); got != "not-found" {
			t.Errorf("after delete the scope is %s", got)
		}
	}
	// In the foreground.
	b := h.bundle(func(s *specs.Spec) { s.Linux.CgroupsPath = ":test:fore" }, "sh", "-c", "exit 3")
	if r := do("run", "--bundle", b, "fore"); r.code != 3 {
		t.Error(r)
	}
	if got := strings.TrimSpace(h.must("systemctl", "show", "-p", "LoadState", "--value", "test-fore.scope")); got != "not-found" {
		t.Errorf("after run the scope is %s", got)
	}
	b = h.bundle(func(s *specs.Spec) { s.Linux.CgroupsPath = "/no/triple" }, "true")
	if r := do("run", "--bundle", b, "bad"); r.code != 1 || !strings.Contains(r.stderr, `expected cgroupsPath to be of format "slice:prefix:name"`) {
		t.Error(r)
	}
	if left, _ := os.ReadDir(state); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// scopeLimits looks at the limits of a container's scope, before an update and after, and after systemd has read its
// units again.
func (h *host) scopeLimits(do func(...string) result, scope string) {
	h.Helper()
	const dir = "/sys/fs/cgroup/machine.slice/test-web.scope"
	check := func(when string, files map[string]string, props ...string) {
		h.Helper()
		for file, want := range files {
			if got := value(dir, file); got != want {
				h.Errorf("%s %s is %q, want %q", when, file, got, want)
			}
		}
		got := h.must("systemctl", "show", scope)
		for _, want := range props {
			if !strings.Contains("\n"+got, "\n"+want+"\n") {
				h.Errorf("%s the scope has no %s", when, want)
			}
		}
	}
	check("at first", map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "50000 100000", "cpu.weight": "174", "pids.max": "50", "memory.oom.group": "1"},
		"MemoryMax=67108864", "MemorySwapMax=0", "CPUQuotaPerSecUSec=500ms", "CPUWeight=174", "TasksMax=50")
	if r := do("update", "--memory", "80m", "--memory-swap", "100m", "--pids-limit", "70", "web"); r.code != 0 {
		h.Error(r)
	}
	h.must("systemctl", "daemon-reload")
	time.Sleep(time.Second)
	check("after update", map[string]string{"memory.max": "83886080", "memory.swap.max": "20971520", "pids.max": "70", "cpu.max": "50000 100000"}, "MemoryMax=83886080", "TasksMax=70")
}

// Inside a unit of berth --systemd-cgroup makes no scope.
func TestRuntimeSystemdCgroupInAUnit(t *testing.T) {
	h := product(t)
	state := t.TempDir()
	b := h.bundle(func(s *specs.Spec) {
		s.Linux.CgroupsPath = "machine.slice:test:nested"
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace })
	}, "grep", "^0::", "/proc/self/cgroup")
	script := fmt.Sprintf("mkdir -p /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/supervisor && echo 0 >/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/supervisor/cgroup.procs && exec %s --systemd-cgroup --root %s run --bundle %s nested", runtimeBin, state, b)
	r := h.start(func(c *exec.Cmd) {}, "systemd-run", "--wait", "--pipe", "--quiet", "--unit=berth-nesting.service", "--property=Delegate=yes", "sh", "-c", script).end()
	if got := strings.TrimSpace(r.stdout); r.code != 0 || !strings.HasSuffix(got, "/berth-nesting.service/machine.slice:test:nested") {
		t.Error(r)
	}
}

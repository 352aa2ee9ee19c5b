package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// policyOf reads a process's scheduling from the kernel.
func policyOf(t *testing.T, pid int) *unix.SchedAttr {
	t.Helper()
	a, err := unix.SchedGetAttr(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestScheduler(t *testing.T) {
	for name, c := range map[string]struct {
		spec specs.Scheduler
		want unix.SchedAttr
	}{
		"nice":     {specs.Scheduler{Policy: specs.SchedOther, Nice: 7}, unix.SchedAttr{Nice: 7}},
		"batch":    {specs.Scheduler{Policy: specs.SchedBatch, Nice: -3, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}, unix.SchedAttr{Policy: 3, Nice: -3, Flags: 1}},
		"idle":     {specs.Scheduler{Policy: specs.SchedIdle}, unix.SchedAttr{Policy: 5}},
		"fifo":     {specs.Scheduler{Policy: specs.SchedFIFO, Priority: 11}, unix.SchedAttr{Policy: 1, Priority: 11}},
		"rr":       {specs.Scheduler{Policy: specs.SchedRR, Priority: 1}, unix.SchedAttr{Policy: 2, Priority: 1}},
		"deadline": {specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 1e6, Deadline: 1e7, Period: 1e8, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagReclaim}}, unix.SchedAttr{Policy: 6, Flags: 2, Runtime: 1e6, Deadline: 1e7, Period: 1e8}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.needs(t, "process.scheduler", "runc 1.2", "crun 1.9")
				if name == "deadline" {
					s.differs(t, "it sets its affinity after the policy, which the kernel refuses", "crun")
				}
				id := s.id(t)
				s.must(t, "run", "-d", "--bundle", bundle(t, func(spec *specs.Spec) { spec.Process.Scheduler = &c.spec }, "sleep", "60"), id)
				got := policyOf(t, s.state(t, id).Pid)
				want := c.want
				want.Size, want.Util_max, want.Util_min = got.Size, got.Util_max, got.Util_min
				if want.Policy != 6 {
					want.Runtime = got.Runtime // a slice, since Linux 6.12
				}
				if !reflect.DeepEqual(*got, want) {
					t.Errorf("got %+v, want %+v", *got, want)
				}
			})
		})
	}
}

// An exec has the container's, or its own; in a user namespace, too.
func TestExecScheduling(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	b := bundle(t, func(c *specs.Spec) {
		setNamespace(c, specs.UserNamespace, "")
		all := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
		c.Linux.UIDMappings, c.Linux.GIDMappings = all, all
		c.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: -5}
		c.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT, Priority: 3}
	}, "sleep", "60")
	ownBy(t, b, 100000)
	s.must(t, "run", "-d", "--bundle", b, id)
	own := filepath.Join(t.TempDir(), "p.json")
	os.WriteFile(own, []byte(`{"args":["sleep","50"],"env":["PATH=/bin"],"cwd":"/","user":{"uid":0,"gid":0},
		"scheduler":{"policy":"SCHED_RR","priority":5},"ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":0}}`), 0o644)
	for _, c := range []struct {
		args   []string
		policy uint32
		io     uintptr
	}{
		{[]string{id, "sleep", "50"}, 3, 1<<13 | 3},
		{[]string{"--process", own, id}, 2, 3 << 13},
	} {
		file := filepath.Join(t.TempDir(), "pid")
		s.must(t, append([]string{"exec", "-d", "--pid-file", file}, c.args...)...)
		text, _ := os.ReadFile(file)
		var pid int
		fmt.Sscan(string(text), &pid)
		if got := policyOf(t, pid); got.Policy != c.policy {
			t.Errorf("%v: policy %+v, want %d", c.args, got, c.policy)
		}
		if got := ioprioOf(t, pid); got != c.io {
			t.Errorf("%v: I/O priority %x, want %x", c.args, got, c.io)
		}
	}
}

func ioprioOf(t *testing.T, pid int) uintptr {
	t.Helper()
	v, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return v
}

func TestIOPriority(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "process.ioPriority", "runc 1.2", "crun 1.8.5")
		for class, want := range map[specs.IOPriorityClass]uintptr{
			specs.IOPRIO_CLASS_RT: 1<<13 | 4, specs.IOPRIO_CLASS_BE: 2<<13 | 4, specs.IOPRIO_CLASS_IDLE: 3<<13 | 4} {
			id := s.id(t)
			s.must(t, "run", "-d", "--bundle", bundle(t, func(c *specs.Spec) {
				c.Process.IOPriority = &specs.LinuxIOPriority{Class: class, Priority: 4}
			}, "sleep", "60"), id)
			if got := ioprioOf(t, s.state(t, id).Pid); got != want {
				t.Errorf("%s: %x, want %x", class, got, want)
			}
			s.must(t, "delete", "-f", id)
		}
	})
}

func TestExecCPUAffinity(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count() < 2 || !all.IsSet(0) || !all.IsSet(1) {
		t.Skip("needs two processors")
	}
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "process.execCPUAffinity", "runc 1.3", "crun 1.21")
		for _, c := range []struct{ affinity, want string }{
			{`{"initial":"0","final":"1"}`, "1"}, {`{"final":"0"}`, "0"}, {`{"initial":"1"}`, "1"}, {`{"initial":"0","final":"0-1"}`, "0-1"},
		} {
			id := s.id(t)
			s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
			file := filepath.Join(t.TempDir(), "p.json")
			os.WriteFile(file, []byte(`{"args":["grep","Cpus_allowed_list","/proc/self/status"],"env":["PATH=/bin"],"cwd":"/","user":{"uid":0,"gid":0},
				"execCPUAffinity":`+c.affinity+`}`), 0o644)
			r := s.run(t, "exec", "--process", file, id)
			if f := strings.Fields(r.out); len(f) != 2 || f[1] != c.want {
				t.Errorf("%s: got %swant %s", c.affinity, r, c.want)
			}
			s.must(t, "delete", "-f", id)
		}
	})
}

func TestPersonality(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "linux.personality", "runc 1.2")
		if uts := uname(t); uts != "x86_64" {
			t.Skip("needs x86_64")
		}
		for domain, want := range map[specs.LinuxPersonalityDomain]string{specs.PerLinux: "x86_64", specs.PerLinux32: "i686"} {
			s.shell(t, func(c *specs.Spec) { c.Linux.Personality = &specs.LinuxPersonality{Domain: domain} }, "uname -m").want(t, want)
		}
	})
}

func uname(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Machine[:])
}

func TestMemoryPolicy(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "linux.memoryPolicy", "runc 1.4", "crun 1.25")
		if _, err := os.Stat("/proc/self/numa_maps"); err != nil {
			t.Skip("needs a kernel with CONFIG_NUMA")
		}
		for _, c := range []struct {
			policy specs.LinuxMemoryPolicy
			want   string
		}{
			{specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0"}, "bind:0"},
			{specs.LinuxMemoryPolicy{Mode: specs.MpolInterleave, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}, "interleave=static:0"},
			{specs.LinuxMemoryPolicy{Mode: specs.MpolPreferred, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFRelativeNodes}}, "prefer=relative:0"},
			{specs.LinuxMemoryPolicy{Mode: specs.MpolPreferredMany, Nodes: "0"}, "prefer (many):0"},
			{specs.LinuxMemoryPolicy{Mode: specs.MpolLocal}, "local"},
			{specs.LinuxMemoryPolicy{Mode: specs.MpolDefault}, "default"},
		} {
			id := s.id(t)
			s.must(t, "run", "-d", "--bundle", bundle(t, func(spec *specs.Spec) { spec.Linux.MemoryPolicy = &c.policy }, "sleep", "60"), id)
			r := s.must(t, "exec", id, "head", "-n1", "/proc/self/numa_maps")
			init, _ := os.ReadFile(fmt.Sprintf("/proc/%d/numa_maps", s.state(t, id).Pid))
			for who, maps := range map[string]string{"exec": r.out, "init": string(init)} {
				if _, after, _ := strings.Cut(maps, " "); !strings.HasPrefix(after, c.want+" ") {
					t.Errorf("%+v: %s has %.80q", c.policy, who, maps)
				}
			}
			s.must(t, "delete", "-f", id)
		}
	})
}

func TestSchedulingRefused(t *testing.T) {
	for _, process := range []string{
		`"scheduler":{"policy":"SCHED_BEST"}`, `"scheduler":{"policy":"SCHED_OTHER","nice":20}`,
		`"scheduler":{"policy":"SCHED_OTHER","priority":1}`, `"scheduler":{"policy":"SCHED_FIFO","priority":1,"runtime":5}`,
		`"scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_X"]}`,
		`"ioPriority":{"class":"IOPRIO_CLASS_X"}`, `"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}`,
		`"execCPUAffinity":{"initial":"3-1"}`, `"execCPUAffinity":{"final":"99999999"}`, `"execCPUAffinity":{"final":"a"}`,
	} {
		if _, err := LoadSpec([]byte(`{"root":{"path":"x"},"process":{"args":["x"],"cwd":"/",` + process + `}}`)); err == nil {
			t.Errorf("%s: accepted", process)
		}
	}
	s := ours(t)
	for name, edit := range map[string]func(*specs.Spec){
		"personality flags": func(c *specs.Spec) {
			c.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux, Flags: []specs.LinuxPersonalityFlag{"ADDR_NO_RANDOMIZE"}}
		},
		"SCHED_ISO": func(c *specs.Spec) { c.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedISO} },
		"AppArmor": func(c *specs.Spec) {
			if apparmorEnabled() {
				c.Process.ApparmorProfile = "no-such-profile"
			} else {
				c.Process.ApparmorProfile = "berth-default"
			}
		},
	} {
		r := s.shell(t, edit, "true")
		if r.status == 0 || !strings.Contains(r.err, "not supported here") && !(name == "AppArmor" && apparmorEnabled()) {
			t.Errorf("%s: %s", name, r)
		}
	}
	// Nothing confines where there is nothing to.
	s.shell(t, func(c *specs.Spec) { c.Process.ApparmorProfile = "unconfined" }, "echo ran").want(t, "ran")
}

func FuzzBitList(f *testing.F) {
	f.Add("0-3,7")
	f.Add("8191")
	f.Fuzz(func(t *testing.T, s string) {
		words, err := bitList(s)
		if err == nil && (len(words) == 0 || len(words) > maxBit/64 || words[len(words)-1] == 0) {
			t.Errorf("%q: %v", s, words)
		}
	})
}

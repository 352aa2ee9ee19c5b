package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseAll(t *testing.T) {
	for _, c := range []struct {
		args, want string
		force      bool
	}{
		{"id", "id", false}, {"-f id", "id", true}, {"id -f", "id", true}, {"a -f b", "a b", true}, {"-f -- -f", "-f", true},
		{"a -- -f", "a -f", false}, {"-- a -- b", "a -- b", false}, {"", "", false}, {"a -", "a -", false},
	} {
		var force bool
		f := newFlags()
		f.flag(&force, "force", "f")
		got, err := f.parseAll(strings.Fields(c.args))
		if err != nil || force != c.force || strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q %v %v", c.args, got, force, err)
		}
	}
	if _, err := newFlags().parseAll([]string{"id", "--help"}); err != errHelp {
		t.Errorf("--help: %v", err)
	}
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{
		"-1": -1, "0": 0, "512": 512, "64m": 64 << 20, "64M": 64 << 20, "64MB": 64 << 20, "1.5GiB": 3 << 29, "2k": 2048, "1t": 1 << 40, "10 kb": 10240, "7b": 7,
	} {
		if got, err := parseBytes(in); err != nil || got != want {
			t.Errorf("%q: %d %v", in, got, err)
		}
	}
	for _, in := range []string{"", "m", "-2", "1x", "1km", "0x10", "1e400", "nan", "inf", "99999999999999p", "1 2"} {
		if got, err := parseBytes(in); err == nil {
			t.Errorf("%q: %d", in, got)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"64m", "-1", "1.5GiB", "", "1e3", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseBytes(s); err == nil && n < -1 {
			t.Errorf("%q: %d", s, n)
		}
	})
}

func TestLimitsOfFlags(t *testing.T) {
	parse := func(args ...string) *specs.LinuxResources {
		t.Helper()
		var l limits
		f := newFlags()
		l.flags(f)
		if _, err := f.parseAll(args); err != nil {
			t.Fatal(err)
		}
		r, err := l.resources(strings.NewReader(`{"memory":{"limit":5},"devices":[{"allow":true}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	memory, swap, quota, pids := int64(1<<20), int64(-1), int64(5000), int64(9)
	shares, burst := uint64(512), uint64(10)
	idle, weight := int64(1), uint16(300)
	want := &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: &memory, Swap: &swap},
		CPU:     &specs.LinuxCPU{Quota: &quota, Shares: &shares, Burst: &burst, Idle: &idle, Cpus: "0-1", Mems: "0"},
		BlockIO: &specs.LinuxBlockIO{Weight: &weight},
		Pids:    &specs.LinuxPids{Limit: &pids},
	}
	got := parse("--memory", "1m", "--memory-swap=-1", "--cpu-quota", "5000", "--cpu-share", "512", "--cpu-burst", "10", "--cpu-idle", "1",
		"--cpuset-cpus", "0-1", "--cpuset-mems", "0", "--blkio-weight", "300", "--pids-limit", "9", "--kernel-memory", "5m", "id")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	five := int64(5)
	want = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &five}, Devices: []specs.LinuxDeviceCgroup{{Allow: true}}}
	if d := cmp.Diff(want, parse("--memory", "1m", "-r", "-", "id")); d != "" {
		t.Error(d)
	}
}

func TestLinesOf(t *testing.T) {
	const table = "UID PID CMD\nroot 1 init\nroot 12 sh -c 1\nroot 2 x\n"
	got, err := linesOf(table, []int{12, 2})
	if want := "UID PID CMD\nroot 12 sh -c 1\nroot 2 x\n"; err != nil || got != want {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"USER CMD\n", "PID\nx\n"} {
		if _, err := linesOf(bad, []int{1}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestReadyLine(t *testing.T) {
	for in, want := range map[string]string{"READY=1": "READY=1", "STATUS=x\nREADY=1\n": "READY=1", "STATUS=READY=1": "", "MAINPID=1": "", "": ""} {
		if got := string(readyLine([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestIsOwnUnit(t *testing.T) {
	for path, want := range map[string]bool{
		"/machine.slice/machine-berth.slice/berth-web.service/supervisor": true, "/berth-web.service/supervisor": true, "/x/container@web.service/supervisor": true,
		"/": false, "/supervisor": false, "/berth-web.service": false, "/berth-web.service/container": false, "/other.service/supervisor": false, "/berth-web.scope/supervisor": false,
	} {
		if got := isOwnUnit(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// Every verb has a help, and every flag in it is one.
func TestHelp(t *testing.T) {
	for _, name := range []string{"create", "start", "run", "exec", "state", "list", "kill", "delete", "spec", "ps", "pause", "resume", "update", "events", "features", "checkpoint", "restore"} {
		if verbNamed(name) == nil || helpOf(name) == "" {
			t.Errorf("%s: verb or help is missing", name)
		}
		if !strings.Contains(usage, "\n   "+name+" ") {
			t.Errorf("%s: not in the list of commands", name)
		}
	}
	if verbNamed("nosuch") != nil || helpOf("nosuch") != "" {
		t.Error("nosuch is a verb")
	}
	source := ""
	for _, file := range []string{"main.go", "verbs.go", "exec.go", "update.go", "control.go", "spec.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(b)
	}
	all := usage
	for _, name := range []string{"create", "run", "exec", "list", "kill", "delete", "spec", "ps", "update", "events"} {
		all += helpOf(name)
	}
	for line := range strings.Lines(all) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		name = strings.TrimSuffix(name, ",")
		if long, ok := strings.CutPrefix(name, "--"); ok && long != "help" && !strings.Contains(source, `"`+long+`"`) {
			t.Errorf("--%s is in the help and not in the program", long)
		}
	}
}

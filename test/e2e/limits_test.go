package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What this machine cannot hold is said, limit by limit: in the box, whose host has the controllers on cgroup v1.
func TestLimitsThatCannotHoldAreReported(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	limits := []struct{ flag, value, controller string }{
		{"--memory", "64m", "memory"}, {"--memory-reservation", "32m", "memory"}, {"--cpus", "0.5", "cpu"},
		{"--cpu-shares", "512", "cpu"}, {"--cpuset-cpus", "0", "cpuset"}, {"--pids-limit", "50", "pids"},
	}
	args, warnings := []string{"run", "--rm"}, 0
	for _, l := range limits {
		args = append(args, l.flag, l.value)
		if !strings.Contains(string(controllers), l.controller) {
			warnings++
		}
	}
	r := h.berth(append(args, busybox, "echo", "ran")...)
	if r.code != 0 || r.stdout != "ran\n" || strings.Count(r.stderr, "\n") != warnings {
		h.Errorf("%v\nwant it to run with %d warnings", r, warnings)
	}
	for _, l := range limits {
		if warned := strings.Contains(r.stderr, l.flag+" cannot hold"); warned == strings.Contains(string(controllers), l.controller) {
			h.Errorf("%v\nwant a warning of %s: %v", r, l.flag, !warned)
		}
	}
	h.nothingLeft()
}

// What takes too much is killed, and said to be.
func TestMemoryLimit(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs cgroup v2 controllers: a VM")
	}
	h.pull(busybox)
	for _, runtime := range []string{"berth-runtime", "crun", "runc"} {
		r := h.berth("run", "--name", "glutton", "-m", "32m", "--runtime", runtime, busybox, "tail", "-c", "200m", "/dev/zero")
		if r.code != 137 {
			h.Errorf("%v\nwant 137", r)
		}
		if got := h.ok("inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "glutton"); got != "true 137" {
			h.Errorf("%s: inspect says %q, want true 137", runtime, got)
		}
		h.want(0, "glutton\n", "rm", "glutton")
	}
	// Each of these is smaller than the shim, which is not to blame.
	r := h.berth("run", "--rm", "-m", "16m", busybox, "sh", "-c", `for i in $(seq 20); do sh -c 'x=$(head -c 900k /dev/zero | tr "\0" x); sleep 1' & done; wait; exit 7`)
	if r.code != 7 && r.code != 137 {
		h.Errorf("%v\nwant 7, or 137 if the first process was killed", r)
	}
	killed := h.sh("journalctl -k -o cat | grep -o 'Killed process [0-9]* ([^)]*)' | sort | uniq -c").stdout
	if !strings.Contains(killed, "(sh)") || strings.Contains(killed, "berth-shim") {
		h.Errorf("want processes of the container killed, and no shim:\n%s", killed)
	}
}

// Limits are properties of the unit, and what the container reads of them is true: also after an administrator changed
// one, also with the next shim.
func TestLimitsAreTheUnits(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs cgroup v2 controllers: a VM")
	}
	h.pull(busybox)
	const unit = "berth-lim.service"
	for _, runtime := range []string{"berth-runtime", "crun", "runc"} {
		// With an init that reaps: what could not fork leaves children behind, and an exec takes two tasks.
		h.ok("run", "-d", "--init", "--name", "lim", "--runtime", runtime, "--cpus", "0.5", "-m", "64m", "--memory-swap", "96m", "--memory-reservation", "16m",
			"--cpu-shares", "2048", "--cpuset-cpus", "0", "--pids-limit", "20", "--oom-score-adj", "300", busybox, "sleep", "1000")
		want := "AllowedCPUs=0\nCPUQuotaPerSecUSec=500ms\nCPUWeight=174\nMemoryLow=16777216\nMemoryMax=67108864\nMemorySwapMax=33554432\n"
		if got := h.sh("systemctl show -p AllowedCPUs -p CPUQuotaPerSecUSec -p CPUWeight -p MemoryLow -p MemoryMax -p MemorySwapMax " + unit + " | sort").stdout; got != want {
			h.Errorf("%s: the unit has\n%swant\n%s", runtime, got, want)
		}
		inside := func(max string) {
			h.Helper()
			want := "cpu.max:50000 100000\ncpu.weight:174\ncpuset.cpus.effective:0\nmemory.low:16777216\nmemory.max:" + max +
				"\nmemory.swap.max:33554432\npids.max:20\n/proc/1/oom_score_adj:300\n"
			h.eventually(runtime+": limits as the container sees them", func() error {
				r := h.berth("exec", "lim", "sh", "-c", "cd /sys/fs/cgroup; grep . cpu.max cpu.weight cpuset.cpus.effective memory.low memory.max memory.swap.max pids.max /proc/1/oom_score_adj")
				if r.code != 0 || r.stdout != want {
					return fmt.Errorf("%v\nwant %q", r, want)
				}
				return nil
			})
		}
		inside("67108864")
		if runtime == "berth-runtime" {
			r := h.berth("exec", "lim", "sh", "-c", "for i in $(seq 30); do sleep 1 & done 2>&1; wait")
			if !strings.Contains(r.stdout+r.stderr, "fork") {
				h.Errorf("%v\nwant fork to fail beyond 20 processes", r)
			}
			h.systemctl("set-property", "--runtime", unit, "MemoryMax=128M")
			inside("134217728")
		}
		if runtime == "crun" { // which fills cgroup.subtree_control by itself
			h.killShim(unit)
			h.systemctl("set-property", "--runtime", unit, "MemoryMax=128M")
			h.killShim(unit)
			inside("134217728")
		}
		h.want(0, "lim\n", "rm", "-f", "-t", "0", "lim")
	}
}

// The other door has the same limits, and its shim comes back too.
func TestLimitsOfTheOtherDoor(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs cgroup v2 controllers: a VM")
	}
	h.pull(busybox)
	h.ok("create", "--name", "door", "--runtime", "crun", "-m", "64m", "--pids-limit", "20", busybox, "sleep", "1000")
	const unit = "container@door.service"
	if r := h.systemctl("start", unit); r.code != 0 {
		h.Fatal(r)
	}
	if got := h.property(unit, "MemoryMax"); got != "67108864" {
		h.Errorf("MemoryMax=%s", got)
	}
	h.killShim(unit)
	h.want(0, "67108864\n20\n0\n0\n", "exec", "door", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max pids.max /proc/1/oom_score_adj /proc/self/oom_score_adj")
	h.want(0, "door\n", "rm", "-f", "-t", "0", "door")
}

// The rules for devices hold below what a container may do by its capabilities.
func TestDevicePolicy(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs devices: a VM")
	}
	h.pull(busybox)
	dir := t.TempDir()
	if r := h.sh("mknod " + dir + "/one c 1 11 && mknod " + dir + "/two c 1 9"); r.code != 0 { // kmsg, urandom
		t.Fatal(r)
	}
	disks := glob("/dev/[vs]da")
	if len(disks) == 0 {
		t.Fatal("this machine has no disk")
	}
	const try = "mknod /mem c 1 1 && head -c 1 /mem; head -c 1 /dev/zero | wc -c; head -c 1 /dev/disk | wc -c; (: >>/dev/disk); " +
		"(: >>/dev/nodes/one) && echo 1; head -c 1 /dev/nodes/two | wc -c"
	const want = "head: /mem: Operation not permitted\n1\n1\nsh: can't create /dev/disk: Operation not permitted\n1\n1\n"
	for _, runtime := range []string{"berth-runtime", "crun", "runc"} {
		h.want(0, want, "run", "--rm", "--runtime", runtime, "--cap-add", "MKNOD", "--device", disks[0]+":/dev/disk:r", "--device", dir+":/dev/nodes:rw",
			busybox, "sh", "-c", "exec 2>&1; "+try)
	}
}

// A limit may be lifted and a restart policy acts: systemd's own.
func TestRestartPolicies(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("run", "-d", "--name", "often", "--restart", "always", busybox, "sh", "-c", "echo run; usleep 50000; exit 3")
	h.logs("often", "run\nrun\nrun")
	h.want(0, "often\n", "stop", "-t", "0", "often")
	h.isState("often", "exited")
	runs := strings.Count(h.ok("logs", "often"), "run")
	h.sh("sleep 0.5")
	if now := strings.Count(h.ok("logs", "often"), "run"); now != runs {
		h.Errorf("it ran %d times after it was stopped", now-runs)
	}
	h.want(0, "often\n", "rm", "often")

	h.ok("run", "-d", "--name", "failing", "--restart", "on-failure", busybox, "sh", "-c", "echo run; usleep 50000; exit 3")
	h.logs("failing", "run\nrun")
	h.want(0, "failing\n", "rm", "-f", "-t", "0", "failing")
	h.ok("run", "--name", "fine", "--restart", "on-failure", busybox, "sh", "-c", "echo run")
	h.isState("fine", "exited")
	if got := h.ok("logs", "fine"); got != "run" {
		h.Errorf("log %q of a container that ended well", got)
	}
	h.want(0, "fine\n", "rm", "fine")
	h.nothingLeft()
}

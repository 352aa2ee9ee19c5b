package e2e

import (
	"os"
	"strings"
	"testing"
)

// limits tells what this lane can hold: in the VM all of it, in the box a warning.
func TestLimitsThatCannotHoldAreReported(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ flag, value, controller string }{
		{"--memory", "64m", "memory"}, {"--memory-reservation", "32m", "memory"}, {"--cpus", "0.5", "cpu"},
		{"--cpu-shares", "512", "cpu"}, {"--cpuset-cpus", "0", "cpuset"}, {"--pids-limit", "50", "pids"},
	} {
		r := h.berth("run", "--rm", test.flag, test.value, busybox, "echo", "ran")
		if r.code != 0 || r.stdout != "ran\n" {
			h.Errorf("%v\nwant it to run", r)
		}
		holds := strings.Contains(string(controllers), test.controller)
		if warned := strings.Contains(r.stderr, test.flag) && strings.Count(r.stderr, "\n") == 1; warned == holds {
			h.Errorf("%v\nwant a warning: %v", r, !holds)
		}
	}
	h.nothingLeft()
}

func TestMemoryLimit(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs cgroup v2 controllers: a VM")
	}
	h.pull(busybox)
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.want(0, "33554432\n", "run", "--rm", "-m", "32m", "--runtime", runtime, busybox, "cat", "/sys/fs/cgroup/memory.max")
		r := h.berth("run", "--name", "glutton", "-m", "32m", "--runtime", runtime, busybox, "sh", "-c", "tail -c 200m /dev/zero; echo survived")
		if r.code == 0 && strings.Contains(r.stdout, "survived") { // sh outlives its child that was killed
			if got := h.ok("inspect", "--format", "{{.State.OOMKilled}}", "glutton"); got != "false" && got != "true" {
				h.Errorf("OOMKilled is %q", got)
			}
		}
		h.ok("rm", "glutton")
		r = h.berth("run", "--name", "glutton", "-m", "32m", "--runtime", runtime, busybox, "tail", "-c", "200m", "/dev/zero")
		if r.code != 137 {
			h.Errorf("%v\nwant 137", r)
		}
		if got := h.ok("inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "glutton"); got != "true 137" {
			h.Errorf("inspect says %q, want true 137", got)
		}
		h.want(0, "glutton\n", "rm", "glutton")
		h.nothingLeft()
	})
}

func TestLimitsAreTheUnits(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs cgroup v2 controllers: a VM")
	}
	h.pull(busybox)
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.ok("run", "-d", "--name", "lim", "--runtime", runtime, "--cpus", "0.5", "-m", "64m", "--memory-swap", "96m", "--memory-reservation", "16m",
			"--cpu-shares", "2048", "--cpuset-cpus", "0", "--pids-limit", "50", busybox, "sleep", "1000")
		const unit = "berth-lim.service"
		for property, want := range map[string]string{
			"CPUQuotaPerSecUSec": "500ms", "MemoryMax": "67108864", "MemorySwapMax": "33554432", "MemoryLow": "16777216", "AllowedCPUs": "0",
		} {
			if got := h.property(unit, property); got != want {
				h.Errorf("%s=%s, want %s", property, got, want)
			}
		}
		// The container sees its own.
		for file, want := range map[string]string{"cpu.max": "50000 100000", "memory.max": "67108864", "pids.max": "50", "cpuset.cpus.effective": "0"} {
			h.want(0, want+"\n", "exec", "lim", "cat", "/sys/fs/cgroup/"+file)
		}
		r := h.berth("exec", "lim", "sh", "-c", "for i in $(seq 100); do sleep 5 & done 2>&1; wait")
		if !strings.Contains(r.stdout+r.stderr, "fork") {
			h.Errorf("%v\nwant fork to fail beyond 50 processes", r)
		}
		// What an administrator changes is so, also in the container, also for the next shim.
		if r := h.systemctl("set-property", "--runtime", unit, "MemoryMax=128M"); r.code != 0 {
			h.Error(r)
		}
		h.killShim(unit)
		h.want(0, "hi\n", "exec", "lim", "echo", "hi")
		if got := h.property(unit, "MemoryMax"); got != "134217728" {
			h.Errorf("MemoryMax=%s after set-property and a new shim", got)
		}
		h.want(0, "134217728\n", "exec", "lim", "cat", "/sys/fs/cgroup/memory.max")
		h.want(0, "lim\n", "rm", "-f", "-t", "0", "lim")
		h.nothingLeft()
	})
}

// The device policy holds below what a container may do by its capabilities.
func TestDevicePolicy(t *testing.T) {
	h := product(t)
	if !h.VM {
		t.Skip("needs devices: a VM")
	}
	h.pull(busybox)
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		const try = "mknod /disk b 254 0; mknod /mem c 1 1; cat /disk 2>&1 | head -c 1 | wc -c; head -c 1 /mem 2>&1 | grep -c 'not permitted'; head -c 1 /dev/zero | wc -c"
		r := h.berth("run", "--rm", "--runtime", runtime, "--cap-add", "MKNOD", busybox, "sh", "-c", try)
		if !strings.Contains(r.stdout, "1\n1\n") {
			h.Errorf("%v\nwant /dev/mem refused", r)
		}
		h.nothingLeft()
	})
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

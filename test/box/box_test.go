package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseBind(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		in   string
		want bind
		ok   bool
	}{
		{dir + ":/srv", bind{Src: dir, Dst: "/srv"}, true},
		{dir + ":/srv:ro", bind{Src: dir, Dst: "/srv", ReadOnly: true}, true},
		{dir + ":/srv:rw", bind{Src: dir, Dst: "/srv"}, true},
		{dir + ":srv", bind{}, false},
		{dir + ":/srv:", bind{}, false},
		{dir + ":/srv:rx", bind{}, false},
		{dir, bind{}, false},
		{":/srv", bind{}, false},
		{filepath.Join(dir, "missing") + ":/srv", bind{}, false},
	} {
		got, err := parseBind(test.in)
		if (err == nil) != test.ok {
			t.Errorf("parseBind(%q): error %v, want ok %v", test.in, err, test.ok)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("parseBind(%q): -want +got:\n%s", test.in, diff)
		}
	}
}

func TestStartTimeTellsProcessesApart(t *testing.T) {
	a, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // a clock tick is 10 ms
	// A name that looks like the fields after it.
	script := filepath.Join(t.TempDir(), "a) S 1 2")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nread x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b, err := startTime(cmd.Process.Pid)
	if err != nil || b == a {
		t.Errorf("start times %q and %q (%v), want two different ones", a, b, err)
	}
	in.Close()
	cmd.Wait()
	if _, err := startTime(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended has a start time")
	}
}

func TestNamesStayInTheirFolder(t *testing.T) {
	t.Setenv("BERTH_BOX_DIR", t.TempDir())
	for _, name := range []string{"", "..", "a/b", "/x", "A", "-a", strings.Repeat("a", 50)} {
		if err := (&box{Name: name}).create(); err == nil {
			t.Errorf("create %q: no error", name)
		}
		if err := kill(name); !errors.Is(err, errNoBox) {
			t.Errorf("kill %q: %v, want %v", name, err, errNoBox)
		}
		if _, err := load(name); !errors.Is(err, errNoBox) {
			t.Errorf("load %q: %v, want %v", name, err, errNoBox)
		}
	}
	b := &box{Name: "a"}
	if err := b.create(); err != nil {
		t.Fatal(err)
	}
	if err := b.create(); !errors.Is(err, errExists) {
		t.Errorf("second create: %v, want %v", err, errExists)
	}
}

// built is this program, as its tests cannot be: what enters new namespaces is a program of its own.
func built(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := cgroupRoot(); err != nil {
		t.Skip("needs cgroup2: ", err)
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("needs systemd to be installed: ", err)
	}
	bin := filepath.Join(t.TempDir(), "box")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Not below /tmp: an overlay of "/" needs a folder that is not on tmpfs for --disk.
	state, err := os.MkdirTemp("/var/tmp", "box-test-")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "BERTH_BOX_DIR="+state)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		return string(out) + stderr.String(), err
	}
	t.Cleanup(func() {
		if out, err := run("kill", "--all"); err != nil {
			t.Errorf("kill --all: %v: %s", err, out)
		}
		if err := os.Remove(state); err != nil {
			t.Errorf("something is left: %v", err)
		}
	})
	return run
}

// The machine's own root, as everywhere; the trees of the cache are the lanes' business.
func TestBoxOverTheMachinesRoot(t *testing.T) {
	box := built(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	share := t.TempDir()
	layer := t.TempDir()
	if err := os.WriteFile(filepath.Join(layer, "from-layer"), []byte("layer\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	name := "test-" + strconv.Itoa(os.Getpid())
	if out, err := box("boot", "--bind", share+":/mnt:ro", "--layer", layer, name, "/"); err != nil {
		t.Fatalf("boot: %v: %s", err, out)
	}
	for _, test := range []struct {
		script string
		out    string
		status int
	}{
		{"systemctl is-system-running", "running\n", 0},
		{"hostname", name + "\n", 0},
		{"cat /proc/1/comm", "systemd\n", 0},
		{"grep -o box.scope /proc/self/cgroup", "box.scope\n", 0},
		{"cat /from-layer; touch /mnt/x 2>/dev/null || echo read-only", "layer\nread-only\n", 0},
		{"echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward", "1\n", 0},
		{"echo x 2>/dev/null >/proc/sys/kernel/core_pattern || echo read-only", "read-only\n", 0},
		{"unshare -Urpf --mount-proc echo user namespace", "user namespace\n", 0},
		{"stat -f -c %T /var/lib/berth", "tmpfs\n", 0},
		{"ls -A /sys/class/net", "lo\n", 0},
		{"echo in the box > /written-in-the-box; exit 42", "", 42},
		{"kill -9 $$", "", 137},
	} {
		out, err := box("exec", name, "sh", "-c", test.script)
		status := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			status = exit.ExitCode()
		}
		if status != test.status || test.out != "" && out != test.out {
			t.Errorf("%s: %q, status %d; want %q, %d", test.script, out, status, test.out, test.status)
		}
	}
	if out, err := box("kill", name); err != nil {
		t.Errorf("kill: %v: %s", err, out)
	}

	if _, err := os.Stat("/written-in-the-box"); err == nil {
		t.Error("a file of the box is on the machine")
	}
	if now, err := os.Hostname(); err != nil || now != host {
		t.Errorf("host name is %q (%v), was %q", now, err, host)
	}
	now, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(mounts), string(now)); diff != "" {
		t.Errorf("mounts changed: -before +after:\n%s", diff)
	}
	root, err := cgroupRoot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "berth-box-"+name)); err == nil {
		t.Error("the cgroup is left")
	}
}

func TestBootThatFailsLeavesNothing(t *testing.T) {
	box := built(t)
	tree := t.TempDir() // without a systemd
	out, err := box("boot", "test-none", tree)
	if err == nil || !strings.Contains(out, "no systemd in this tree") {
		t.Errorf("boot: %v: %q, want a complaint about systemd", err, out)
	}
	if out, err := box("list"); err != nil || strings.Contains(out, "test-none") {
		t.Errorf("list: %v: %q", err, out)
	}
}

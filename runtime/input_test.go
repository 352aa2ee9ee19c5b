package runtime

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Bad input: what an engine, a disk or a user does wrong. Each verb says what is
// the matter, with the status that engines expect, and leaves nothing.

// nothingLeft compares what there is at the end of a test with its beginning.
func (s *subject) nothingLeft(t *testing.T) {
	t.Helper()
	before := holdings()
	t.Cleanup(func() {
		after := holdings()
		for _, what := range []string{"mounts", "cgroups", "children"} {
			if after[what] > before[what] {
				t.Errorf("left %s: %d, before %d", what, after[what], before[what])
			}
		}
	})
}

// logged reads the one line that a verb has written to its log.
func logged(t *testing.T, path string) (level, msg string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal(b, &line); err != nil || strings.Count(string(b), "\n") != 1 {
		t.Fatalf("the log is %q: %v", b, err)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); err != nil {
		t.Error(err)
	}
	return line.Level, line.Msg
}

func TestMalformedConfig(t *testing.T) {
	s := ours(t)
	s.nothingLeft(t)
	for name, text := range map[string]string{
		"empty":          "",
		"not JSON":       "#!/bin/sh",
		"half":           `{"ociVersion":"1.0.2","process":{"args":["true"]`,
		"array":          "[]",
		"null":           "null",
		"number":         "1e999",
		"wrong types":    `{"ociVersion":"1.0.2","process":{"args":"true","cwd":1},"root":{"path":[]}}`,
		"version":        `{"ociVersion":"99.0.0","process":{"args":["true"],"cwd":"/"},"root":{"path":"rootfs"}}`,
		"no process":     `{"ociVersion":"1.0.2","root":{"path":"rootfs"}}`,
		"no root":        `{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"/"}}`,
		"relative cwd":   `{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"tmp"},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]}}`,
		"deep":           strings.Repeat(`{"linux":`, 20000),
		"a long string":  `{"ociVersion":"1.0.2","process":{"args":["` + strings.Repeat("x", 4<<20) + `"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]}}`,
		"NUL":            `{"ociVersion":"1.0.2","process":{"args":["tr\u0000ue"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]}}`,
		"namespace":      `{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"},{"type":"nonsense"}]}}`,
		"namespace pair": `{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"},{"type":"mount"}]}}`,
		"negative":       `{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"/","user":{"uid":-1}},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"mount"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, nil, "true")
			if err := os.WriteFile(b+"/config.json", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(t.TempDir(), "log")
			for _, verb := range []string{"create", "run"} {
				os.Remove(log)
				r := s.run(t, "--log", log, "--log-format", "json", verb, "--bundle", b, s.id(t))
				if r.status != 1 || r.out != "" {
					t.Errorf("%s: %s", verb, r)
				}
				if level, msg := logged(t, log); level != "error" || msg == "" || len(msg) > 1<<16 || strings.Contains(msg, "goroutine") {
					t.Errorf("%s: %s: %.200s", verb, level, msg)
				}
			}
		})
	}
}

func TestMissing(t *testing.T) {
	s := ours(t)
	s.nothingLeft(t)
	b := bundle(t, nil, "true")
	empty := t.TempDir()
	if err := os.WriteFile(empty+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit   func(*specs.Spec)
		bundle string
		why    string
	}{
		"bundle":      {bundle: "/no/such/bundle", why: "no such file or directory"},
		"config":      {bundle: empty, why: "config.json: no such file or directory"},
		"not a dir":   {bundle: empty + "/file", why: "not a directory"},
		"rootfs":      {edit: func(c *specs.Spec) { c.Root.Path = "/no/such/root" }, why: "/no/such/root: no such file or directory"},
		"rootfs file": {edit: func(c *specs.Spec) { c.Root.Path = empty + "/file" }, why: "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.bundle
			if c.edit != nil {
				dir = bundle(t, c.edit, "true")
			}
			for _, verb := range []string{"create", "run"} {
				if r := s.run(t, verb, "--bundle", dir, s.id(t)); r.status != 1 || !strings.Contains(r.err, c.why) {
					t.Errorf("%s: got %swant %q", verb, r, c.why)
				}
			}
		})
	}
	for _, verb := range []string{"state", "start", "kill", "delete", "exec"} {
		args := []string{verb, "nobody"}
		if verb == "exec" {
			args = append(args, "true")
		}
		if r := s.run(t, args...); r.status == 0 || !strings.Contains(r.err, "does not exist") {
			t.Errorf("%s of a container that is not: %s", verb, r)
		}
	}
	if r := s.run(t, "delete", "--force", "nobody"); r.status != 0 {
		t.Errorf("forced: %s", r)
	}
	for _, args := range [][]string{{}, {"nonsense"}, {"run"}, {"state"}, {"state", "a", "b"}, {"kill"}, {"exec", "a"}, {"--nonsense"},
		{"run", "--nonsense", "a"}, {"create", "--bundle", b}, {"kill", "a", "NOSUCHSIGNAL"}, {"--log-format", "xml", "list"}, {"list", "--format", "xml"}} {
		if r := s.run(t, args...); len(args) > 0 && (r.status == 0 || r.err == "") {
			t.Errorf("%q: %s", args, r)
		}
	}
}

// TestWrongState asks each verb of containers that are in no state for it.
func TestWrongState(t *testing.T) {
	s := ours(t)
	s.nothingLeft(t)
	b := bundle(t, nil, "sleep", "60")
	id := s.id(t)
	fails := func(why string, args ...string) {
		t.Helper()
		r := s.run(t, args...)
		if r.status == 0 || !strings.Contains(r.err, why) {
			t.Errorf("%s: got %swant %q", strings.Join(args, " "), r, why)
		}
	}
	s.must(t, "create", "--bundle", b, id)
	for _, verb := range []string{"create", "run"} {
		fails("already exists", verb, "--bundle", b, id)
	}
	if st := s.state(t, id); st.Status != specs.StateCreated {
		t.Errorf("a second create has changed it: %+v", st)
	}
	s.must(t, "start", id)
	fails("cannot start", "start", id)
	fails("already exists", "run", "--bundle", b, id)
	fails("not stopped", "delete", id)
	if st := s.state(t, id); st.Status != specs.StateRunning {
		t.Errorf("%+v", st)
	}
	s.must(t, "kill", id, "KILL")
	eventually(t, "stopped", func() bool { return s.state(t, id).Status == specs.StateStopped })
	fails("stopped", "start", id)
	fails("not running", "kill", id, "KILL")
	if r := s.run(t, "exec", id, "true"); r.status != 255 || !strings.Contains(r.err, "stopped container") {
		t.Errorf("exec in a stopped one: %s", r)
	}
	fails("already exists", "create", "--bundle", b, id)
	s.must(t, "delete", id)
	fails("does not exist", "delete", id)
}

// TestHangingHook has hooks that do not end: with a timeout they are killed, and
// so is the container; what they have started does not hold the runtime.
func TestHangingHook(t *testing.T) {
	s := ours(t)
	s.nothingLeft(t)
	timeout := 1
	hang := []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "1234"}, Timeout: &timeout}}
	for name, hooks := range map[string]*specs.Hooks{
		"createRuntime":   {CreateRuntime: hang},
		"createContainer": {CreateContainer: hang},
		"child":           {CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 2 & exec sleep 1234"}, Timeout: &timeout}}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := s.run(t, "run", "--bundle", bundle(t, func(c *specs.Spec) { c.Hooks = hooks }, "true"), s.id(t))
			if r.status != 1 || !strings.Contains(r.err, "hook #0") || !strings.Contains(r.err, "deadline exceeded") {
				t.Error(r)
			}
			if d := time.Since(began); d > 4*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	for name, h := range map[string]specs.Hook{
		"missing": {Path: "/no/such/hook"}, "directory": {Path: "/"}, "status": {Path: "/bin/false"}, "killed": {Path: "/bin/sh", Args: []string{"sh", "-c", "kill -9 $$"}},
		"much output": {Path: "/bin/sh", Args: []string{"sh", "-c", "head -c 3000000 /dev/zero; exit 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.run(t, "run", "--bundle", bundle(t, func(c *specs.Spec) { c.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{h}} }, "true"), s.id(t))
			if r.status != 1 || !strings.Contains(r.err, "createRuntime hook #0") || len(r.err) > 8192 {
				t.Errorf("status %d: %.300s", r.status, r.err)
			}
		})
	}
}

// TestBadDisk has the store, the log and the pid file on a file system that is
// full, read-only, or no directory.
func TestBadDisk(t *testing.T) {
	s := ours(t)
	s.nothingLeft(t)
	b := bundle(t, nil, "sleep", "60")
	disk := func(t *testing.T, opts string, flags uintptr) string {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, opts); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		return dir
	}
	at := func(root string, args ...string) []string {
		return append([]string{"--root", root}, args...)
	}
	check := func(t *testing.T, root, why string, args ...string) {
		t.Helper()
		r := s.run(t, at(root, args...)...)
		if r.status != 1 || !strings.Contains(r.err, why) {
			t.Errorf("got %swant %q", r, why)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 && left[0].Name() != "fill" {
			t.Errorf("left %v", left)
		}
	}
	t.Run("full", func(t *testing.T) {
		dir := disk(t, "size=16k", 0)
		os.WriteFile(dir+"/fill", make([]byte, 16<<10), 0o600)
		for _, verb := range []string{"create", "run"} {
			check(t, dir, "no space left on device", verb, "--bundle", b, s.id(t))
		}
	})
	t.Run("no inodes", func(t *testing.T) {
		// Enough for the directory and the configuration, not for the record.
		for n := 2; n < 5; n++ {
			dir := disk(t, "nr_inodes="+itoa(n), 0)
			check(t, dir, "no space left on device", "create", "--bundle", b, s.id(t))
		}
	})
	t.Run("read-only", func(t *testing.T) {
		dir := disk(t, "", unix.MS_RDONLY)
		check(t, dir, "read-only file system", "create", "--bundle", b, s.id(t))
		check(t, dir+"/below", "read-only file system", "run", "--bundle", b, s.id(t))
		if r := s.run(t, at(dir, "list", "-q")...); r.status != 0 || r.out != "" {
			t.Error(r)
		}
	})
	t.Run("root is a file", func(t *testing.T) {
		check(t, b+"/config.json", "not a directory", "create", "--bundle", b, s.id(t))
	})
	t.Run("pid file", func(t *testing.T) {
		check(t, s.root, "pid", "create", "--bundle", b, "--pid-file", disk(t, "", unix.MS_RDONLY)+"/pid", s.id(t))
	})
	t.Run("console socket", func(t *testing.T) {
		tty := bundle(t, func(c *specs.Spec) { c.Process.Terminal = true }, "true")
		check(t, s.root, "console socket", "create", "--bundle", tty, "--console-socket", "/no/such/socket", s.id(t))
	})
	t.Run("log", func(t *testing.T) {
		r := s.run(t, "--log", disk(t, "", unix.MS_RDONLY)+"/log", "state", "nobody")
		if r.status != 1 || !strings.Contains(r.err, "does not exist") {
			t.Errorf("the error is lost: %s", r)
		}
	})
}

// TestDamagedState has files in the store that are not what create writes.
func TestDamagedState(t *testing.T) {
	s := ours(t)
	for name, text := range map[string]string{
		"empty": "", "half": `{"id":"x","pid":`, "null": "null", "another": `{"id":"other","pid":1}`, "no pid": `{"id":"NAME","pid":0}`, "negative": `{"id":"NAME","pid":-1}`,
	} {
		t.Run(name, func(t *testing.T) {
			id := s.id(t)
			if err := os.Mkdir(filepath.Join(s.root, id), 0o700); err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text, "NAME", id)
			if err := os.WriteFile(filepath.Join(s.root, id, stateFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, verb := range []string{"state", "start", "kill", "delete"} {
				if r := s.run(t, verb, id); r.status != 1 || !strings.Contains(r.err, "parse state") {
					t.Errorf("%s: %s", verb, r)
				}
			}
			if r := s.run(t, "list", "-q"); r.status != 0 || r.out != "" {
				t.Errorf("list: %s", r)
			}
			if r := s.run(t, "delete", "--force", id); r.status != 0 {
				t.Errorf("by force: %s", r)
			}
		})
	}
}

// TestNoPrivileges runs the verbs as nobody.
func TestNoPrivileges(t *testing.T) {
	s := ours(t)
	s.nothingLeft(t)
	b := bundle(t, nil, "true")
	nobody := func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		c.Dir = "/"
	}
	// Where nobody may execute the runtime.
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	bin, err := os.ReadFile(s.argv[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/berth-runtime", bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir+"/store", 0o755), os.Chown(dir+"/store", 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	n := &subject{name: s.name, root: dir + "/store", argv: []string{dir + "/berth-runtime", "--root", dir + "/store"}}
	for _, verb := range []string{"create", "run"} {
		r := n.runWith(t, nobody, verb, "--bundle", b, "nobody")
		if r.status != 1 || !strings.Contains(r.err, "permitted") && !strings.Contains(r.err, "permission denied") {
			t.Errorf("%s: %s", verb, r)
		}
	}
	if left, _ := os.ReadDir(n.root); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	// Somebody else's container.
	id := s.id(t)
	s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
	for _, args := range [][]string{{"state", id}, {"kill", id, "KILL"}, {"delete", "--force", id}, {"exec", id, "true"}} {
		n.argv[2] = s.root
		if r := n.runWith(t, nobody, args...); r.status == 0 {
			t.Errorf("%q: %s", args, r)
		}
	}
	if st := s.state(t, id); st.Status != specs.StateRunning {
		t.Errorf("%+v", st)
	}
}

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// subject is a runtime under test, spoken to by its command line.
type subject struct {
	name string
	argv []string
	root string
}

// subjects are ours and what else is installed. A case that another runtime
// cannot pass says so with differs.
func subjects(t *testing.T) []*subject {
	t.Helper()
	dir := os.Getenv(insideEnv)
	if dir == "" {
		t.Skip("needs root")
	}
	noLeaks(t)
	list := []*subject{{name: "berth", argv: []string{filepath.Join(dir, "berth-runtime")}}}
	if p, err := exec.LookPath("crun"); err == nil {
		list = append(list, &subject{name: "crun", argv: []string{p, "--cgroup-manager=disabled"}})
	}
	if p, err := exec.LookPath("runc"); err == nil {
		list = append(list, &subject{name: "runc", argv: []string{p}})
	}
	for _, s := range list {
		s.root = t.TempDir()
		s.argv = append(s.argv, "--root", s.root)
	}
	return list
}

// noLeaks fails a test after which there is more of something than before.
func noLeaks(t *testing.T) {
	t.Helper()
	before := holdings()
	t.Cleanup(func() {
		var leaked []string
		for range 200 { // what has been killed may take its time
			leaked = leaks(before)
			if len(leaked) == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("leaked: %s", strings.Join(leaked, ", "))
	})
}

// each runs a case with every runtime.
func each(t *testing.T, f func(t *testing.T, s *subject)) {
	t.Helper()
	for _, s := range subjects(t) {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

// ours runs a case with our runtime alone.
func ours(t *testing.T) *subject {
	t.Helper()
	return subjects(t)[0]
}

// differs skips a case for the runtimes that are known to do otherwise.
func (s *subject) differs(t *testing.T, why string, names ...string) {
	t.Helper()
	for _, n := range names {
		if s.name == n {
			t.Skipf("%s differs: %s", n, why)
		}
	}
}

// result is a command's end.
type result struct {
	out, err string
	status   int
}

func (r result) String() string { return fmt.Sprintf("status %d\n%s%s", r.status, r.out, r.err) }

// run runs the runtime. Output goes to files, since what it starts may keep it open.
func (s *subject) run(t *testing.T, args ...string) result {
	t.Helper()
	return s.runWith(t, nil, args...)
}

func (s *subject) runWith(t *testing.T, set func(*exec.Cmd), args ...string) result {
	t.Helper()
	argv := append(append([]string{}, s.argv...), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	errOut, err := os.Create(filepath.Join(dir, "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer errOut.Close()
	cmd.Stdout, cmd.Stderr = out, errOut
	if set != nil {
		set(cmd)
	}
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", argv, err)
	}
	o, _ := os.ReadFile(out.Name())
	e, _ := os.ReadFile(errOut.Name())
	return result{string(o), string(e), cmd.ProcessState.ExitCode()}
}

// must runs the runtime and fails the test unless it succeeds.
func (s *subject) must(t *testing.T, args ...string) result {
	t.Helper()
	r := s.run(t, args...)
	if r.status != 0 {
		t.Fatalf("%s: %s", strings.Join(args, " "), r)
	}
	return r
}

// id is a container's name that no other test uses, and makes sure that the
// container does not outlive its test.
func (s *subject) id(t *testing.T) string {
	t.Helper()
	id := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())
	t.Cleanup(func() {
		s.run(t, "delete", "--force", id)
		left, _ := os.ReadDir(s.root)
		if s.name == "crun" { // compiled filters
			left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == ".cache" })
		}
		if len(left) > 0 {
			t.Errorf("left in %s: %v", s.root, left)
		}
	})
	return id
}

// state asks for a container's state.
func (s *subject) state(t *testing.T, id string) specs.State {
	t.Helper()
	var st specs.State
	if err := json.Unmarshal([]byte(s.must(t, "state", id).out), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// bundle makes a bundle with busybox, whose configuration edit may change.
func bundle(t *testing.T, edit func(*specs.Spec), args ...string) string {
	t.Helper()
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	os.Chmod(dir, 0o755)
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	installBusybox(t, root)
	s := DefaultSpec()
	s.Version = "1.0.2"
	s.Process.Terminal = false
	s.Process.Args = args
	s.Linux.CgroupsPath = "/" + strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())
	if edit != nil {
		edit(s)
	}
	writeSpec(t, dir, s)
	return dir
}

func writeSpec(t *testing.T, dir string, s *specs.Spec) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func installBusybox(t *testing.T, root string) {
	t.Helper()
	const busybox = "/bin/busybox"
	if _, err := os.Stat(busybox); err != nil {
		t.Skip("needs busybox-static")
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"true", "sh", "cat", "sleep", "id", "ls", "echo", "mount", "grep", "stat", "env", "kill",
		"readlink", "sed", "sort", "cut", "uname", "ip", "touch", "mkdir", "head", "hostname", "pwd", "tty", "stty", "wc", "ps", "umount", "chmod", "test", "mknod", "seq"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
}

// shell runs a script in a container of its own and returns what it wrote.
func (s *subject) shell(t *testing.T, edit func(*specs.Spec), script string) result {
	t.Helper()
	return s.run(t, "run", "--bundle", bundle(t, edit, "sh", "-c", script), s.id(t))
}

// want compares a script's output and status.
func (r result) want(t *testing.T, out string) {
	t.Helper()
	if r.status != 0 || strings.TrimSpace(r.out) != strings.TrimSpace(out) {
		t.Errorf("got %swant %q", r, out)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 500 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("did not happen: %s", what)
}

// subreaper makes this process the parent of what a runtime leaves behind.
func subreaper(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		for {
			var ws syscall.WaitStatus
			if pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil); err != nil || pid <= 0 {
				return
			}
		}
	})
}

// needs skips a case for a peer that is older than the first version that can
// do it, given as "runc 1.2". A peer that is not named is expected to be able to.
func (s *subject) needs(t *testing.T, what string, since ...string) {
	t.Helper()
	for _, v := range since {
		name, want, _ := strings.Cut(v, " ")
		if name != s.name {
			continue
		}
		have := s.version(t)
		if want == "" || older(have, want) {
			t.Skipf("%s %s has not: %s", s.name, have, what)
		}
	}
}

// version asks a peer for its version.
func (s *subject) version(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(s.argv[0], "--version").Output()
	f := strings.Fields(string(out))
	if err != nil || len(f) < 3 {
		t.Fatalf("%s --version: %v %q", s.argv[0], err, out)
	}
	return f[2]
}

// older compares dotted versions by their leading numbers.
func older(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range w {
		var a, b int
		if i < len(h) {
			fmt.Sscan(h[i], &a)
		}
		fmt.Sscan(w[i], &b)
		if a != b {
			return a < b
		}
	}
	return false
}

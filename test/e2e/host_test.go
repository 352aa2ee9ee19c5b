package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	registry = "localhost:5000/"
	busybox  = registry + "busybox"
	root     = "/var/lib/berth"
	run      = "/run/berth"
)

// host is the lane as a user of berth sees it. What a test leaves behind fails it.
type host struct {
	testing.TB
	Env
}

// product begins a test of the product on a machine where no container is, and has it end there.
func product(t testing.TB) *host {
	t.Helper()
	h := &host{TB: t, Env: Product(t)}
	baseline()
	if left := h.leftovers(); len(left) > 0 {
		h.scrub()
		if left := h.leftovers(); len(left) > 0 {
			h.Fatalf("there is something left of an earlier test:\n%s", strings.Join(left, "\n"))
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			h.Logf("berth ps -a:\n%s", h.berth("ps", "-a").stdout)
			h.Logf("units:\n%s", h.sh("systemctl list-units --all --no-pager --legend=no 'berth-*' 'container@*' machine-berth.slice").stdout)
			h.Logf("journal:\n%s", h.sh("journalctl --no-pager -n 15 -o short-precise _PID=1 + _COMM=berth-shim + _COMM=berth-hook").stdout)
		}
		if got := h.berth("rm", "-fa", "-t", "0"); got.code != 0 {
			h.Errorf("rm -fa: %v", got)
		}
		h.nothingLeft()
		h.scrub()
	})
	return h
}

// patience is how long something may take before it counts as never: lanes run beside other work, VMs without KVM.
func (h *host) patience() time.Duration {
	if h.VM {
		return 3 * time.Minute
	}
	return time.Minute
}

// eventually waits until ok returns nil.
func (h *host) eventually(what string, ok func() error) {
	h.Helper()
	var err error
	for end := time.Now().Add(h.patience()); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	h.Fatalf("%s: %v", what, err)
}

// result is what a command did.
type result struct {
	args           []string
	code           int // 128+n after signal n
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("%s: exit status %d\n  stdout: %s\n  stderr: %s", strings.Join(r.args, " "), r.code, clip(r.stdout), clip(r.stderr))
}

// clip quotes the beginning of what may be megabytes.
func clip(s string) string {
	if len(s) > 2000 {
		return fmt.Sprintf("%q… (%d bytes)", s[:2000], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// command is a process of a test's. It is killed when the test ends.
type command struct {
	*exec.Cmd
	h              *host
	stdout, stderr lockedBuffer
	ended          chan struct{}
	err            error
}

// start starts a command. set may change what is executed; stdout and stderr that it sets are not kept.
func (h *host) start(set func(*exec.Cmd), name string, args ...string) *command {
	h.Helper()
	c := &command{h: h, ended: make(chan struct{})}
	c.Cmd = exec.Command(name, args...)
	c.Stdout, c.Stderr = &c.stdout, &c.stderr
	c.WaitDelay = 5 * time.Second
	if set != nil {
		set(c.Cmd)
	}
	if err := c.Start(); err != nil {
		h.Fatal(err)
	}
	go func() {
		c.err = c.Wait()
		close(c.ended)
	}()
	h.Cleanup(func() {
		_ = c.Process.Kill()
		<-c.ended
	})
	return c
}

// end waits for the command.
func (c *command) end() result {
	c.h.Helper()
	select {
	case <-c.ended:
	case <-time.After(c.h.patience()):
		_ = c.Process.Signal(syscall.SIGQUIT) // a Go program says where it hangs
		select {
		case <-c.ended:
		case <-time.After(5 * time.Second):
			_ = c.Process.Kill()
			<-c.ended
		}
		c.h.Fatalf("%s: has not ended after %s\nstdout: %s\nstderr: %s", strings.Join(c.Args, " "), c.h.patience(),
			clip(c.stdout.String()), c.stderr.String())
	}
	if errors.Is(c.err, exec.ErrWaitDelay) {
		c.h.Errorf("%s: has ended, but somebody keeps its output open", strings.Join(c.Args, " "))
	}
	r := result{args: c.Args, stdout: c.stdout.String(), stderr: c.stderr.String(), code: c.ProcessState.ExitCode()}
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.code = 128 + int(ws.Signal())
	}
	return r
}

// has waits for text in the command's output.
func (c *command) has(text string) {
	c.h.Helper()
	c.h.eventually(fmt.Sprintf("%s: wait for %q", strings.Join(c.Args, " "), text), func() error {
		if got := c.stdout.String(); !strings.Contains(got, text) {
			return fmt.Errorf("it says %s, and on stderr %s", clip(got), clip(c.stderr.String()))
		}
		return nil
	})
}

func (h *host) berth(args ...string) result {
	h.Helper()
	return h.start(nil, "berth", args...).end()
}

func (h *host) systemctl(args ...string) result {
	h.Helper()
	return h.start(nil, "systemctl", args...).end()
}

func (h *host) sh(script string) result {
	h.Helper()
	return h.start(nil, "bash", "-c", script).end()
}

// ok is berth that must succeed; it returns what it prints without the last newline.
func (h *host) ok(args ...string) string {
	h.Helper()
	r := h.berth(args...)
	if r.code != 0 {
		h.Fatal(r)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// want is berth with this exit status and output.
func (h *host) want(code int, stdout string, args ...string) {
	h.Helper()
	r := h.berth(args...)
	if r.code != code || r.stdout != stdout {
		h.Errorf("%v\n  want exit status %d and stdout %q", r, code, stdout)
	}
}

// refuse is berth that must fail with this exit status and one line on stderr that has each of the words.
func (h *host) refuse(code int, words []string, args ...string) {
	h.Helper()
	h.refused(h.berth(args...), code, words...)
}

func (h *host) refused(r result, code int, words ...string) {
	h.Helper()
	line := strings.TrimSuffix(r.stderr, "\n")
	if r.code != code || line == "" || strings.Contains(line, "\n") {
		h.Errorf("%v\n  want exit status %d and one line on stderr", r, code)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			h.Errorf("%v\n  want %q in what it says", r, w)
		}
	}
}

// stateOf is the state that berth ps and inspect give; they must agree.
func (h *host) stateOf(name string) string {
	h.Helper()
	return h.ok("inspect", "--format", "{{.State.Status}}", name)
}

func (h *host) isState(name, want string) {
	h.Helper()
	h.eventually("state of "+name, func() error {
		if got := h.stateOf(name); got != want {
			return fmt.Errorf("is %s, want %s", got, want)
		}
		return nil
	})
}

// property is a property of a unit.
func (h *host) property(unit, name string) string {
	h.Helper()
	return strings.TrimSpace(h.systemctl("show", "--value", "-p", name, unit).stdout)
}

// shim is the pid of a unit's supervisor; 0 while there is none.
func (h *host) shim(unit string) int {
	h.Helper()
	var pid int
	_, _ = fmt.Sscan(h.property(unit, "MainPID"), &pid)
	return pid
}

// killShim kills a unit's supervisor and waits for the next one.
func (h *host) killShim(unit string) {
	h.Helper()
	old := h.shim(unit)
	if old == 0 {
		h.Fatalf("%s has no main process", unit)
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		h.Fatal(err)
	}
	h.eventually("new shim of "+unit, func() error {
		if pid := h.shim(unit); pid == old || pid == 0 || h.property(unit, "ActiveState") != "active" {
			return fmt.Errorf("pid %d, %s", pid, h.property(unit, "ActiveState"))
		}
		return nil
	})
}

// pull has an image here without a word.
func (h *host) pull(images ...string) {
	h.Helper()
	for _, i := range images {
		h.ok("pull", "-q", i)
	}
}

// baseline is what was there before the first test: mounts.
var baseline = sync.OnceValue(func() map[string]bool {
	mounts := map[string]bool{}
	for _, m := range mountPoints() {
		mounts[m] = true
	}
	return mounts
})

// mountPoints are those of PID 1's mount namespace, with what is mounted there.
func mountPoints() []string {
	data, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		panic(err)
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		// systemd mounts a service's credentials as it starts; no service of ours has any.
		if !strings.HasPrefix(f[4], "/run/credentials/") && !strings.HasPrefix(f[4], "/proc/sys/fs/binfmt_misc") {
			points = append(points, f[4]+" ("+f[3]+")")
		}
	}
	return points
}

// leftovers lists everything of containers that is there: none when there is none.
func (h *host) leftovers() []string {
	h.Helper()
	var left []string
	add := func(kind string, items ...string) {
		for _, i := range items {
			left = append(left, kind+": "+i)
		}
	}
	units := h.systemctl("list-units", "--all", "--plain", "--no-legend", "--no-pager", "berth-*", "container@*").stdout
	for line := range strings.Lines(units) {
		add("unit", strings.TrimSpace(line))
	}
	add("cgroup", glob("/sys/fs/cgroup/machine.slice/machine-berth.slice/*/")...)
	for _, m := range mountPoints() {
		if !baseline()[m] {
			add("mount", m)
		}
	}
	for _, path := range glob(run + "/*") {
		switch filepath.Base(path) {
		case "ctl", "ctl@", "runtime":
			add("run", slices.DeleteFunc(glob(path+"/*"), func(p string) bool {
				return p == run+"/runtime/.cache" // crun's, of seccomp profiles
			})...)
		default:
			add("run", path)
		}
	}
	add("record", glob(root+"/containers/*")...)
	add("name", glob(root+"/names/*")...)
	add("drop-in", glob("/run/systemd/system/container@*")...)
	add("drop-in", glob("/run/systemd/system/berth-*")...)
	add("drop-in", glob("/run/systemd/transient/berth-*")...)
	add("process", processes()...)
	slices.Sort(left)
	return left
}

func glob(pattern string) []string {
	list, err := filepath.Glob(pattern)
	if err != nil {
		panic(err)
	}
	return list
}

// processes are those that are ours or in a container: in a PID namespace of their own or a cgroup of a container's.
func processes() []string {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		panic(err)
	}
	var list []string
	for _, dir := range glob("/proc/[0-9]*") {
		comm, _ := os.ReadFile(dir + "/comm")
		ns, err := os.Readlink(dir + "/ns/pid")
		cgroup, _ := os.ReadFile(dir + "/cgroup")
		if err != nil { // it has ended
			continue
		}
		name := strings.TrimSpace(string(comm))
		ours := strings.HasPrefix(name, "berth-") || name == "berth" || name == "crun" || name == "runc"
		if ours || ns != own || strings.Contains(string(cgroup), "berth.slice") || strings.Contains(string(cgroup), "/berth-") {
			args, _ := os.ReadFile(dir + "/cmdline")
			list = append(list, fmt.Sprintf("%s %s: %s", filepath.Base(dir), name, bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return list
}

// nothingLeft fails the test unless everything of its containers goes.
func (h *host) nothingLeft() {
	h.Helper()
	var left []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = h.leftovers(); len(left) == 0 {
			return
		}
	}
	h.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	h.scrub()
}

// scrub takes away what berth has left, so that one defect fails one test.
func (h *host) scrub() {
	if len(h.leftovers()) == 0 {
		return
	}
	for _, kill := range glob("/sys/fs/cgroup/machine.slice/machine-berth.slice/*/cgroup.kill") {
		_ = os.WriteFile(kill, []byte("1"), 0)
	}
	script := `systemctl stop 'berth-*' 'container@*'; systemctl reset-failed 'berth-*' 'container@*'
rm -f /etc/systemd/system/multi-user.target.wants/container@*
rm -rf /run/berth/* /run/systemd/system/container@* /var/lib/berth/containers /var/lib/berth/names
rmdir /sys/fs/cgroup/machine.slice/machine-berth.slice/*/*/ /sys/fs/cgroup/machine.slice/machine-berth.slice/*/
systemctl daemon-reload`
	ctx, cancel := context.WithTimeout(context.Background(), h.patience())
	defer cancel()
	_ = exec.CommandContext(ctx, "bash", "-c", script).Run()
}

// lockedBuffer is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex // guards what follows
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var _ io.Writer = (*lockedBuffer)(nil)

// runtimes calls test for each OCI runtime; one that is not installed is skipped.
func runtimes(t *testing.T, test func(t *testing.T, runtime string)) {
	for _, name := range []string{"berth-runtime", "crun", "runc"} {
		t.Run(name, func(t *testing.T) {
			Product(t)
			if _, err := exec.LookPath(name); name != "berth-runtime" && err != nil {
				t.Skip("needs " + name + ", which is not installed in this lane")
			}
			test(t, name)
		})
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

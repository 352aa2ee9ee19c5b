package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/logs"
	"github.com/berthrun/berth/shim/wire"
	"github.com/berthrun/berth/unit/notify"
)

// runtimes are the OCI runtimes that the tests below are run with.
func runtimes(t *testing.T) map[string]string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) != nil || int64(st.Type) != unix.CGROUP2_SUPER_MAGIC {
		t.Skip("needs cgroup v2 at /sys/fs/cgroup: run it in the box")
	}
	found := map[string]string{}
	for _, name := range []string{"crun", "runc"} {
		if path, err := exec.LookPath(name); err == nil {
			found[name] = path
		}
	}
	if path := os.Getenv("BERTH_RUNTIME"); path != "" {
		found["berth-runtime"] = path
	}
	if len(found) == 0 {
		t.Skip("needs an OCI runtime: crun, runc or BERTH_RUNTIME")
	}
	return found
}

// lab is a container with its unit, in which the test plays systemd.
type lab struct {
	t     *testing.T
	store *container.Store
	rec   *container.Record
	dir   string
	unit  string // cgroup directory
	ctl   *os.File

	mu     sync.Mutex
	notify *os.File
	stored map[string][]*os.File
	ready  chan struct{}
	status string
}

func newLab(t *testing.T, runtime string, change func(*container.Record), args ...string) *lab {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	dir, err := os.MkdirTemp("/run", "shim-test-") // short: socket paths lie in it
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, dir: dir, store: container.Open(dir+"/lib", dir+"/run"), stored: map[string][]*os.File{}}
	t.Cleanup(l.close)
	l.unit = filepath.Join("/sys/fs/cgroup", filepath.Base(dir)+".service")
	if err := os.Mkdir(l.unit, 0o755); err != nil {
		t.Fatal(err)
	}
	rootfs := dir + "/rootfs"
	for _, d := range []string{"bin", "proc", "dev", "tmp"} {
		os.MkdirAll(filepath.Join(rootfs, d), 0o755)
	}
	data, _ := os.ReadFile(busybox)
	if err := os.WriteFile(rootfs+"/bin/busybox", data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "echo", "cat", "sleep", "true", "usleep"} {
		os.Symlink("busybox", filepath.Join(rootfs, "bin", name))
	}
	l.rec = &container.Record{
		Version: 1, ID: container.NewID(), Name: "lab", Created: time.Now(), Command: args,
		Rootfs:  container.Rootfs{Lower: []string{rootfs}},
		Runtime: container.Runtime{Name: "test", Path: runtime},
		Log:     container.LogConfig{Driver: logs.K8sFile}, StopSignal: 15, StopTimeout: 5 * time.Second,
	}
	if change != nil {
		change(l.rec)
	}
	if err := l.store.Create(l.rec, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, container.ConfigFile), ociConfig(l.rec), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	l.ctl = l.socket(unix.SOCK_STREAM, dir+"/ctl")
	l.notify = l.socket(unix.SOCK_DGRAM, dir+"/notify")
	go l.listen()
	return l
}

func ociConfig(r *container.Record) []byte {
	type m = map[string]any
	ns := []m{}
	for _, kind := range []string{"pid", "ipc", "uts", "mount", "network"} {
		ns = append(ns, m{"type": kind})
	}
	b, _ := json.Marshal(m{
		"ociVersion": "1.0.2",
		"process":    m{"terminal": r.Terminal, "user": m{"uid": 0, "gid": 0}, "args": r.Command, "env": []string{"PATH=/bin"}, "cwd": "/"},
		"root":       m{"path": "rootfs"},
		"mounts":     []m{{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": []string{"newinstance", "ptmxmode=0666"}}},
		"linux":      m{"namespaces": ns, "cgroupsPath": container.CgroupPlaceholder},
	})
	return b
}

func (l *lab) socket(kind int, path string) *os.File {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 100)
	}
	if err == nil && kind == unix.SOCK_DGRAM {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), path)
}

// listen plays the manager's side of sd_notify(3).
func (l *lab) listen() {
	raw, err := l.notify.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, 4096), make([]byte, 1024)
	for {
		var n, on int
		var rerr error
		if raw.Read(func(fd uintptr) bool {
			n, on, _, _, rerr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
			return rerr != unix.EAGAIN
		}) != nil || rerr != nil {
			return
		}
		var files []*os.File
		cmsgs, _ := unix.ParseSocketControlMessage(oob[:on])
		for i := range cmsgs {
			fds, _ := unix.ParseUnixRights(&cmsgs[i])
			for _, fd := range fds {
				files = append(files, os.NewFile(uintptr(fd), "stored"))
			}
		}
		l.message(string(buf[:n]), files)
	}
}

func (l *lab) message(text string, files []*os.File) {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		vars[k] = v
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch name := vars["FDNAME"]; {
	case vars["FDSTORE"] == "1":
		if vars["FDPOLL"] != "0" {
			l.t.Errorf("%s is stored to be polled", name)
		}
		l.stored[name] = append(l.stored[name], files...)
	case vars["FDSTOREREMOVE"] == "1":
		closeFiles(l.stored[name])
		delete(l.stored, name)
	}
	if vars["READY"] == "1" {
		close(l.ready)
	}
	if s, ok := vars["STATUS"]; ok {
		l.status = s
	}
}

// replaceHeld takes what has a name out of the holder, and puts f there.
func (l *lab) replaceHeld(name string, f *os.File) {
	l.t.Helper()
	l.mu.Lock()
	held := l.stored[fdHolder]
	delete(l.stored, fdHolder)
	l.mu.Unlock()
	if len(held) != 1 {
		l.t.Fatalf("%d holders are in the store", len(held))
	}
	old, files, err := notify.Held(held[0])
	if err != nil {
		l.t.Fatal(err)
	}
	old.Close()
	h, err := notify.Manager{Path: l.dir + "/notify"}.Hold(fdHolder)
	if err != nil {
		l.t.Fatal(err)
	}
	defer h.Close()
	if f != nil {
		files = append(files, f)
	}
	for _, x := range files {
		if x.Name() != name || x == f {
			if err := h.Keep(map[bool]string{true: name, false: x.Name()}[x == f], x); err != nil {
				l.t.Fatal(err)
			}
		}
		x.Close()
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		n := len(l.stored[fdHolder])
		l.mu.Unlock()
		if n == 1 {
			return
		}
		if time.Now().After(end) {
			l.t.Fatal("the holder did not come into the store")
		}
	}
}

// start runs the supervisor with what is in the store.
func (l *lab) start() *exec.Cmd {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = make(chan struct{})
	cmd := exec.Command("/proc/self/exe", l.rec.ID)
	names := []string{"control"}
	cmd.ExtraFiles = []*os.File{l.ctl}
	for name, files := range l.stored {
		for _, f := range files {
			names = append(names, name)
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "SHIM_TEST=shim", "SHIM_ROOT=" + l.store.Root(), "SHIM_RUN=" + l.store.Run(),
		"NOTIFY_SOCKET=" + l.dir + "/notify", "LISTEN_FDS=" + strconv.Itoa(len(names)), "LISTEN_FDNAMES=" + strings.Join(names, ":"),
		"INVOCATION_ID=0123456789abcdef0123456789abcdef",
	}
	cmd.Stderr = os.Stderr
	dir, err := os.Open(l.unit)
	if err != nil {
		l.t.Fatal(err)
	}
	defer dir.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return cmd
}

// run waits for READY too.
func (l *lab) run() *exec.Cmd {
	l.t.Helper()
	cmd := l.start()
	select {
	case <-l.ready:
	case <-time.After(20 * time.Second):
		cmd.Process.Kill()
		cmd.Wait()
		l.t.Fatalf("not ready; status %q", l.status)
	}
	return cmd
}

// starter announces a client, as engine does before it asks for a start.
func (l *lab) starter(attach bool) *container.Starter {
	l.t.Helper()
	w, err := l.store.NewStarter(l.rec.ID, attach)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { w.Close() })
	return w
}

func (l *lab) dial() *wire.Client {
	l.t.Helper()
	c, err := wire.Dial(l.t.Context(), l.dir+"/ctl")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

// ended checks what the supervisor leaves behind, and returns the exit record.
func (l *lab) ended(cmd *exec.Cmd, code int) *container.Exit {
	l.t.Helper()
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		l.t.Errorf("supervisor ended with %d (%v), want %d", got, cmd.ProcessState, code)
	}
	if _, err := os.Stat(l.store.RunDir(l.rec.ID)); !errors.Is(err, os.ErrNotExist) {
		l.t.Errorf("the run's directory is left: %v", err)
	}
	if left, _ := os.ReadDir(l.store.Run() + "/runtime"); len(left) > 0 {
		l.t.Errorf("the runtime's state is left: %v", left)
	}
	time.Sleep(10 * time.Millisecond) // the last messages
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.stored {
		if name == fdHolder || name == fdStdin {
			continue // goes with the unit
		}
		l.t.Errorf("descriptor %s is left in the store", name)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), l.dir) {
		l.t.Errorf("mounts are left in the host's namespace")
	}
	exit, err := l.store.Exit(l.rec.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	return exit
}

func (l *lab) log() map[logs.Stream]string {
	l.t.Helper()
	got := map[logs.Stream]string{}
	path := filepath.Join(l.store.Dir(l.rec.ID), container.LogFile)
	if err := logs.Read(l.t.Context(), logs.Source{Driver: logs.K8sFile, Path: path}, logs.Options{Stdout: true, Stderr: true}, func(e logs.Entry) error {
		got[e.Stream] += string(e.Line)
		if !e.Partial {
			got[e.Stream] += "\n"
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return got
}

func (l *lab) close() {
	writeCgroup(filepath.Join(l.unit, "cgroup.kill"), "1")
	if l.ctl != nil {
		l.ctl.Close()
		l.notify.Close()
	}
	for _, files := range l.stored {
		closeFiles(files)
	}
	for range 100 {
		os.Remove(l.unit + "/container")
		os.Remove(l.unit + "/supervisor")
		if err := os.Remove(l.unit); err == nil || errors.Is(err, os.ErrNotExist) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.RemoveAll(l.dir)
}

func codeOf(e *container.Exit) string {
	if e == nil {
		return "no exit record"
	}
	if e.Code == nil {
		return "unknown"
	}
	return fmt.Sprint(*e.Code)
}

func eachRuntime(t *testing.T, fn func(t *testing.T, path string)) {
	for name, path := range runtimes(t) {
		t.Run(name, func(t *testing.T) { fn(t, path) })
	}
}

func TestRunToEnd(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "sh", "-c", "echo out; echo err >&2; cat /proc/self/cgroup >/dev/null; exit 7")
		e := l.ended(l.start(), 7)
		if codeOf(e) != "7" || e.Stopped || e.Started.IsZero() {
			t.Errorf("exit record: %+v, code %s", e, codeOf(e))
		}
		if got := l.log(); got[logs.Stdout] != "out\n" || got[logs.Stderr] != "err\n" {
			t.Errorf("log: %q", got)
		}
	})
}

func TestStartFails(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "nosuch")
		e := l.ended(l.start(), 127)
		if codeOf(e) != "127" || e.Error == "" || l.status == "" {
			t.Errorf("exit record: %+v, status %q", e, l.status)
		}
	})
}

func TestStop(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do usleep 1000; done")
		cmd := l.run()
		for len(l.log()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Signal(unix.SIGTERM)
		if e := l.ended(cmd, 0); codeOf(e) != "9" || !e.Stopped {
			t.Errorf("exit record: %+v, code %s", e, codeOf(e))
		}
	})
}

// A stop that comes while a start waits for its client ends it: nothing ran.
func TestStopBeforeStart(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "echo", "ran")
		l.starter(true)
		cmd := l.start()
		for made := false; !made; {
			_, err := os.Stat(filepath.Join(l.store.RunDir(l.rec.ID), container.PidFile))
			made = err == nil
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Signal(unix.SIGTERM)
		e := l.ended(cmd, 0)
		if e == nil || e.Code != nil || !e.Stopped || !e.Started.IsZero() {
			t.Errorf("exit record %+v, code %s", e, codeOf(e))
		}
		if got := l.log(); len(got) > 0 {
			t.Errorf("log %q", got)
		}
	})
}

func TestAttachBeforeStart(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		for _, terminal := range []bool{false, true} {
			l := newLab(t, path, func(r *container.Record) {
				r.OpenStdin, r.Terminal, r.AutoRemove = true, terminal, true
			}, "sh", "-c", "echo first; read x; echo got $x")
			starter := l.starter(true)
			cmd := l.start()
			c := l.dial()
			r, w, _ := os.Pipe()
			s, err := c.Attach(t.Context(), wire.AttachOptions{Stdin: true, Stdout: w})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if s.Terminal != terminal || s.StdoutOffset != 0 {
				t.Errorf("session %+v", s)
			}
			s.Input.WriteString("word\n")
			if err := starter.Wait(t.Context(), 5*time.Second); err != nil {
				t.Errorf("start: %v", err)
			}
			exit, err := s.Wait(t.Context())
			if err != nil || exit.Code == nil || *exit.Code != 0 {
				t.Errorf("exit %+v, %v", exit, err)
			}
			s.Input.Close()
			want := "first\ngot word\n"
			if terminal {
				want = "first\r\nword\r\ngot word\r\n"
			}
			var got []byte
			for b := make([]byte, 100); ; {
				n, err := r.Read(b)
				got = append(got, b[:n]...)
				if err != nil {
					break
				}
			}
			r.Close()
			if string(got) != want {
				// The terminal's echo may come before or after the first line.
				if !terminal || len(got) != len(want) {
					t.Errorf("output %q, want %q", got, want)
				}
			}
			if err := s.WaitGone(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := l.store.Load("lab"); !errors.Is(err, container.ErrNotExist) {
				t.Errorf("the record is left: %v", err)
			}
			cmd.Wait()
		}
	})
}

func TestExec(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "sleep", "100")
		cmd := l.run()
		process := func(args ...string) json.RawMessage {
			b, _ := json.Marshal(map[string]any{"args": args, "cwd": "/", "env": []string{"PATH=/bin"}, "user": map[string]int{"uid": 0, "gid": 0}})
			return b
		}
		r, w, _ := os.Pipe()
		defer r.Close()
		s, err := l.dial().Exec(t.Context(), wire.ExecOptions{Process: process("sh", "-c", "echo in; exit 5"), Stdout: w})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if e, err := s.Wait(t.Context()); err != nil || e.Code == nil || *e.Code != 5 {
			t.Errorf("exit %+v, %v", e, err)
		}
		b := make([]byte, 10)
		if n, _ := r.Read(b); string(b[:n]) != "in\n" {
			t.Errorf("output %q", b[:n])
		}
		_, err = l.dial().Exec(t.Context(), wire.ExecOptions{Process: process("nosuch")})
		var we *wire.Error
		if !errors.As(err, &we) || we.Code != 127 {
			t.Errorf("no such command: got %v", err)
		}
		// One that is left running dies with the container.
		if _, err = l.dial().Exec(t.Context(), wire.ExecOptions{Process: process("sleep", "100"), Detach: true}); err != nil {
			t.Error(err)
		}
		if err := l.dial().Kill(t.Context(), 9); err != nil {
			t.Error(err)
		}
		if e := l.ended(cmd, 137); codeOf(e) != "137" || e.Signal != 9 {
			t.Errorf("exit record %+v", e)
		}
		if populated(l.unit) {
			t.Error("processes are left")
		}
	})
}

// The supervisor is killed again and again while the container writes.
func TestAdoption(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		const lines = 400
		l := newLab(t, path, nil, "sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); usleep 2000; done; exit 42", lines))
		cmd := l.run()
		kills := 0
		for {
			time.Sleep(30 * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			if !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				break
			}
			kills++
			cmd = l.start()
			if kills > 10 {
				break
			}
		}
		e := l.ended(cmd, 42)
		if codeOf(e) != "42" && !(e.Code == nil && !kernelAtLeast(6, 15)) {
			t.Errorf("exit record %+v, code %s", e, codeOf(e))
		}
		var want strings.Builder
		for i := range lines {
			fmt.Fprintf(&want, "line %d\n", i)
		}
		if got := l.log()[logs.Stdout]; got != want.String() {
			t.Errorf("after %d kills %d bytes are logged, want %d", kills, len(got), want.Len())
		}
		if kills < 5 {
			t.Errorf("only %d kills", kills)
		}
	})
}

// A client whose supervisor is killed attaches again and has every byte once.
func TestAttachAgain(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, func(r *container.Record) { r.OpenStdin = true }, "sh", "-c", "read x; i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); usleep 1000; done")
		cmd := l.run()
		r, w, _ := os.Pipe()
		defer r.Close()
		var got buffer
		read := make(chan struct{})
		go func() {
			defer close(read)
			io.Copy(&got, r)
		}()
		s, err := l.dial().Attach(t.Context(), wire.AttachOptions{Stdin: true, Stdout: w})
		if err != nil {
			t.Fatal(err)
		}
		s.Input.WriteString("go\n")
		s.Input.Close()
		for range 5 {
			time.Sleep(20 * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			if _, err := s.Wait(t.Context()); !errors.Is(err, wire.ErrGone) {
				t.Fatalf("got %v, want ErrGone", err)
			}
			// What was sent before the kill is in the pipe: let it through.
			for {
				n, err := unix.IoctlGetInt(int(rawFD(r)), unix.TIOCINQ)
				if err != nil || n == 0 {
					break
				}
			}
			time.Sleep(5 * time.Millisecond)
			cmd = l.start()
			have := int64(len(got.String()))
			if s, err = l.dial().Attach(t.Context(), wire.AttachOptions{Stdout: w, StdoutOffset: &have}); err != nil {
				t.Fatal(err)
			}
			if s.StdoutOffset != have {
				t.Fatalf("goes on at %d, want %d", s.StdoutOffset, have)
			}
		}
		w.Close()
		if _, err := s.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		l.ended(cmd, 0)
		<-read
		var want strings.Builder
		for i := range 300 {
			fmt.Fprintf(&want, "line %d\n", i)
		}
		if got.String() != want.String() {
			t.Errorf("got %d bytes, want %d", len(got.String()), want.Len())
		}
	})
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Clients come and go, well-behaved or not, and leave nothing behind.
func TestClientsLeaveNothing(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "sleep", "100")
		cmd := l.run()
		fds := func() int {
			entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid))
			return len(entries)
		}
		time.Sleep(2 * settleTime)
		before := fds()
		for i := range 20 {
			c := l.dial()
			r, w, _ := os.Pipe()
			switch i % 4 {
			case 0:
				if _, err := c.Attach(t.Context(), wire.AttachOptions{Stdout: w, Stderr: w}); err != nil {
					t.Error(err)
				}
			case 1:
				s, err := c.Exec(t.Context(), wire.ExecOptions{Process: json.RawMessage(`{"args":["true"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0}}`), Stdout: w})
				if err == nil {
					_, err = s.Wait(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			case 2: // descriptors without a message, half a message
				conn, err := net.Dial("unix", l.dir+"/ctl")
				if err != nil {
					t.Fatal(err)
				}
				conn.(*net.UnixConn).WriteMsgUnix([]byte(`{"method":`), unix.UnixRights(int(rawFD(w))), nil)
				conn.Close()
			case 3:
				conn, err := net.Dial("unix", l.dir+"/ctl")
				if err != nil {
					t.Fatal(err)
				}
				conn.Write([]byte("garbage\x00"))
				conn.Close()
			}
			c.Close()
			r.Close()
			w.Close()
		}
		for i := 0; fds() > before; i++ {
			if i == 200 {
				t.Fatalf("%d descriptors before, %d after", before, fds())
			}
			time.Sleep(10 * time.Millisecond)
		}
		if left, _ := filepath.Glob(l.store.RunDir(l.rec.ID) + "/exec-*"); len(left) > 0 {
			t.Errorf("files are left: %v", left)
		}
		cmd.Process.Signal(unix.SIGTERM)
		l.dial().Kill(t.Context(), 9)
		l.ended(cmd, 0)
	})
}

// After a run that ended by itself systemd starts the container again by
// whatever policy the unit has. A supervisor that was killed when all was done
// but its own end does not run the container again.
func TestAfterTheEnd(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "sh", "-c", "echo run; exit 3")
		runs := func(want int) {
			t.Helper()
			l.ended(l.start(), 3)
			if got := strings.Count(l.log()[logs.Stdout], "run"); got != want {
				t.Errorf("ran %d times, want %d", got, want)
			}
		}
		runs(1)
		runs(2)
		// As if it had been killed just before it stored itself.
		l.replaceHeld(fdSelf, nil)
		runs(2)
		if !kernelAtLeast(6, 15) {
			return // it is the policy's word that counts there
		}
		// As if it had been killed afterwards.
		victim := exec.Command("sleep", "100")
		victim.Start()
		p, err := openProcess(victim.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		victim.Process.Kill()
		victim.Wait()
		runs(3)
		l.replaceHeld(fdSelf, p.f)
		runs(3)
	})
}

// The supervisor is killed at every point of a start and of an end: the
// command runs once, and its status and output are there.
func TestKilledAnywhere(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		for after := time.Duration(0); after < 60*time.Millisecond; after += 3 * time.Millisecond {
			l := newLab(t, path, nil, "sh", "-c", "echo run; exit 3")
			cmd := l.start()
			time.Sleep(after)
			cmd.Process.Kill()
			cmd.Wait()
			if !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				continue
			}
			time.Sleep(2 * time.Millisecond) // its messages
			e := l.ended(l.start(), 3)
			if codeOf(e) != "3" && kernelAtLeast(6, 15) {
				t.Errorf("killed after %v: exit record %+v, code %s", after, e, codeOf(e))
			}
			if got := l.log()[logs.Stdout]; got != "run\n" {
				t.Errorf("killed after %v: log %q", after, got)
			}
		}
	})
}

func TestSweep(t *testing.T) {
	eachRuntime(t, func(t *testing.T, path string) {
		l := newLab(t, path, nil, "sleep", "100")
		cgroup := strings.TrimPrefix(l.unit, "/sys/fs/cgroup")
		if swept, err := Sweep(l.store, l.rec, cgroup); swept || err != nil {
			t.Errorf("nothing to do: got %v, %v", swept, err)
		}
		cmd := l.run()
		if _, err := Sweep(l.store, l.rec, cgroup); !errors.Is(err, container.ErrInUse) {
			t.Errorf("beside a supervisor: got %v", err)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if swept, err := Sweep(l.store, l.rec, ""); !swept || err != nil {
			t.Errorf("got %v, %v", swept, err)
		}
		if populated(l.unit) {
			t.Error("processes are left")
		}
		e, _ := l.store.Exit(l.rec.ID)
		if e == nil || !e.Stopped || kernelAtLeast(6, 15) && codeOf(e) != "137" {
			t.Errorf("exit record %+v, code %s", e, codeOf(e))
		}
	})
}

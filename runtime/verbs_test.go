package runtime

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// sleeper runs a container that sleeps, and returns its ID.
func (s *subject) sleeper(t *testing.T, edit func(*specs.Spec)) string {
	t.Helper()
	id := s.id(t)
	s.must(t, "run", "-d", "--bundle", bundle(t, edit, "sleep", "60"), id)
	return id
}

// beside starts one more process in the container, which the test reaps before
// the container is deleted: the end of a pid namespace waits for that.
func (s *subject) beside(t *testing.T, id string, args ...string) (pid int) {
	t.Helper()
	pidFile := filepath.Join(t.TempDir(), "pid")
	var flags []string
	for len(args) > 0 && strings.HasPrefix(args[0], "--") {
		flags, args = append(flags, args[0], args[1]), args[2:]
	}
	argv := append([]string{"exec", "-d", "--pid-file", pidFile}, flags...)
	s.must(t, append(append(argv, id), args...)...)
	b, err := os.ReadFile(pidFile)
	if err == nil {
		pid, err = strconv.Atoi(string(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, nil, 0, nil)
	})
	return pid
}

// noCgroups skips a case for a crun that the tests keep from using cgroups.
func (s *subject) noCgroups(t *testing.T) {
	t.Helper()
	s.differs(t, "runs without cgroups here", "crun")
}

func TestPauseResume(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.noCgroups(t)
		subreaper(t)
		id := s.sleeper(t, nil)
		if r := s.run(t, "resume", id); r.status == 0 {
			t.Error("resumed what is not paused")
		}
		s.must(t, "pause", id)
		if st := s.state(t, id); st.Status != "paused" {
			t.Errorf("after pause: %s", st.Status)
		}
		if r := s.run(t, "pause", id); r.status == 0 {
			t.Error("paused twice")
		}
		if r := s.run(t, "exec", id, "true"); r.status != 255 {
			t.Errorf("exec in a paused container: %s", r)
		}
		s.must(t, "resume", id)
		if st := s.state(t, id); st.Status != specs.StateRunning {
			t.Errorf("after resume: %s", st.Status)
		}
		s.must(t, "exec", id, "true")
		s.must(t, "pause", id)
		s.must(t, "delete", "--force", id)
	})
}

func TestPs(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.noCgroups(t)
		subreaper(t)
		id := s.sleeper(t, nil)
		pid := s.state(t, id).Pid
		s.beside(t, id, "sleep", "61")
		var pids []int
		if err := json.Unmarshal([]byte(s.must(t, "ps", "-f", "json", id).out), &pids); err != nil {
			t.Fatal(err)
		}
		if len(pids) != 2 || !slices.Contains(pids, pid) {
			t.Errorf("ps -f json: %v, init is %d", pids, pid)
		}
		if _, err := exec.LookPath("ps"); err != nil {
			t.Skip("needs procps")
		}
		lines := strings.Split(strings.TrimSpace(s.must(t, "ps", id).out), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], "PID") || !strings.Contains(lines[1]+lines[2], "sleep 61") {
			t.Errorf("ps: %q", lines)
		}
		if lines := strings.Split(strings.TrimSpace(s.must(t, "ps", id, "-o", "pid,comm").out), "\n"); len(lines) != 3 {
			t.Errorf("ps -o: %q", lines)
		}
		if r := s.run(t, "ps", "-f", "xml", id); r.status != 1 {
			t.Errorf("ps -f xml: %s", r)
		}
	})
}

func TestFlagsAfterArguments(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "its parser stops at the first argument", "crun")
		id := s.id(t)
		s.must(t, "run", id, "-d", "--bundle", bundle(t, nil, "sleep", "60"))
		s.must(t, "delete", id, "--force")
	})
}

func TestUsage(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		for _, args := range [][]string{{"start"}, {"start", "a", "b"}, {"state"}, {"nosuchverb"}, {"run", "--nosuchflag", "x"}, {"delete"}, {"kill"}, {"pause"}} {
			if r := s.run(t, args...); r.status == 0 || r.err == "" && r.out == "" {
				t.Errorf("%v: %s", args, r)
			}
		}
		for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"exec", "--help"}, {"update", "--help"}} {
			if r := s.run(t, args...); r.status != 0 || len(r.out) < 100 {
				t.Errorf("%v: %s", args, r)
			}
		}
		r := s.run(t, "--version")
		lines := strings.Split(r.out, "\n")
		if r.status != 0 || !strings.Contains(lines[0], " version ") || !strings.Contains(r.out, "\nspec: 1.") {
			t.Errorf("--version: %s", r)
		}
	})
}

func TestListTable(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		subreaper(t)
		id := s.sleeper(t, nil)
		r := s.must(t, "list")
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		head := strings.Fields(lines[0])
		if d := fmt.Sprint(head); d != "[ID PID STATUS BUNDLE CREATED OWNER]" && s.name != "crun" || len(lines) != 2 {
			t.Fatalf("list: %s", r)
		}
		f := strings.Fields(lines[1])
		if f[0] != id || f[2] != "running" || f[5] != "root" {
			t.Errorf("list: %q", f)
		}
	})
}

func TestEventsStats(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "has no events", "crun")
		subreaper(t)
		id := s.sleeper(t, nil)
		var e struct {
			Type, ID string
			Data     struct {
				CPU struct {
					Usage struct{ Total uint64 }
				}
				Memory struct{ Raw map[string]uint64 }
			}
		}
		r := s.run(t, "events", "--stats", id)
		if r.status != 0 && s.name == "runc" {
			t.Skipf("%s differs: wants controllers for its figures: %s", s.name, r)
		}
		if err := json.Unmarshal([]byte(r.out), &e); err != nil || e.Type != "stats" || e.ID != id || e.Data.CPU.Usage.Total == 0 {
			t.Errorf("%v: %s", err, r)
		}
		if r := s.run(t, "events", "--interval", "0s", id); r.status == 0 {
			t.Error("an interval of nothing")
		}
	})
}

// TestEventsEnd: events goes on until the container ends, and tells what it takes.
func TestEventsEnd(t *testing.T) {
	s := ours(t)
	subreaper(t)
	id := s.id(t)
	s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "1"), id)
	r := s.must(t, "events", "--interval", "100ms", id)
	if n := strings.Count(r.out, `{"type":"stats","id":"`+id); n < 3 {
		t.Errorf("%d lines of stats in a second: %s", n, r)
	}
	if r := s.run(t, "events", id); r.status != 1 {
		t.Errorf("events of a stopped container: %s", r)
	}
}

// receiveFD listens at a socket and returns what comes there.
func receiveFD(t *testing.T) (path string, get func() (name string, fd int)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path, func() (string, int) {
		t.Helper()
		l.SetDeadline(time.Now().Add(10 * time.Second))
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		buf, oob := make([]byte, 4096), make([]byte, 128)
		n, on, _, _, err := c.ReadMsgUnix(buf, oob)
		if err != nil {
			t.Fatal(err)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:on])
		if err != nil || len(msgs) != 1 {
			t.Fatalf("%v %v", msgs, err)
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("%v %v", fds, err)
		}
		t.Cleanup(func() { unix.Close(fds[0]) })
		return string(buf[:n]), fds[0]
	}
}

func TestPidfdSocket(t *testing.T) {
	s := ours(t)
	subreaper(t)
	id := s.id(t)
	path, get := receiveFD(t)
	s.must(t, "run", "-d", "--pidfd-socket", path, "--bundle", bundle(t, nil, "sleep", "60"), id)
	_, fd := get()
	if pid, err := pidOf(fd); err != nil || pid != s.state(t, id).Pid {
		t.Errorf("init's pidfd is of %d (%v), state says %d", pid, err, s.state(t, id).Pid)
	}
	want := s.beside(t, id, "--pidfd-socket", path, "sleep", "60")
	_, fd = get()
	if pid, err := pidOf(fd); err != nil || pid != want {
		t.Errorf("process's pidfd is of %d (%v), pid file says %d", pid, err, want)
	}
}

func TestListenFDs(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		b := bundle(t, nil, "sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4; ls /proc/self/fd | wc -l")
		dir := t.TempDir()
		var files []*os.File
		for _, text := range []string{"first", "second"} {
			path := filepath.Join(dir, text)
			if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			files = append(files, f)
		}
		id := s.id(t)
		r := s.runWith(t, func(cmd *exec.Cmd) {
			cmd.ExtraFiles = files
			// The pid has to be the runtime's own.
			argv := cmd.Args
			cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$@"`, "sh"}, argv...)
		}, "run", "--bundle", b, id)
		want := "2 1\nfirst\nsecond\n"
		s.differs(t, "says LISTEN_PID alone", "crun")
		if r.status != 0 || !strings.HasPrefix(r.out, want) {
			t.Errorf("got %swant %s", r, want)
		}
		// For another process they are not.
		r = s.runWith(t, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "LISTEN_PID=1", "LISTEN_FDS=2") },
			"run", "--bundle", bundle(t, nil, "sh", "-c", "echo $LISTEN_FDS"), id+"x")
		if r.status != 0 || strings.TrimSpace(r.out) != "" {
			t.Errorf("for another process: %s", r)
		}
	})
}

// manager is a service manager's end of sd_notify(3).
func manager(t *testing.T) (path string, get func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return path, func() string {
		t.Helper()
		buf, oob := make([]byte, 4096), make([]byte, 128)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		n, on, _, _, err := c.ReadMsgUnix(buf, oob)
		if err != nil {
			t.Fatal(err)
		}
		// A barrier's descriptor: closing it is the answer.
		if msgs, err := unix.ParseSocketControlMessage(oob[:on]); err == nil {
			for i := range msgs {
				if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
					closeAll(fds)
				}
			}
		}
		return string(buf[:n])
	}
}

// notifier says that it is ready, among other things, and stays: what the
// containers of TestNotifySocket run.
func notifier() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	for _, text := range []string{"STATUS=wait for it", "READY=1\nSTATUS=there"} {
		if err := unix.Sendto(fd, []byte(text), 0, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}); err != nil {
			return err
		}
	}
	time.Sleep(time.Minute)
	return nil
}

func TestNotifySocket(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "waits for a READY=1 that it does not get here", "crun")
		subreaper(t)
		b := bundle(t, func(c *specs.Spec) { attacker(t, c, "notifier") }, "true")
		path, get := manager(t)
		withNotify := func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path) }
		check := func(how string, pid int, done chan result) {
			t.Helper()
			said := ""
			for range 2 {
				said += get() + "\n"
				if strings.Contains(said, "MAINPID") {
					break
				}
			}
			if want := fmt.Sprintf("MAINPID=%d\n", pid); !strings.Contains(said, "READY=1\n") || !strings.Contains(said, want) || strings.Contains(said, "STATUS") {
				t.Errorf("%s: manager heard %q, want READY=1 and %s", how, said, want)
			}
			if done != nil {
				if s.name == "berth" { // runc's does so in later versions
					if m := get(); m != "BARRIER=1" {
						t.Errorf("%s: then %q", how, m)
					}
				}
				if r := <-done; r.status != 0 {
					t.Errorf("%s: %s", how, r)
				}
			}
		}
		id := s.id(t)
		if r := s.runWith(t, withNotify, "create", "--bundle", b, id); r.status != 0 {
			t.Fatalf("create: %s", r)
		}
		done := make(chan result, 1)
		go func() { done <- s.runWith(t, withNotify, "start", id) }()
		check("start", s.state(t, id).Pid, done)
		s.must(t, "delete", "--force", id)

		go func() { done <- s.runWith(t, withNotify, "run", "-d", "--bundle", b, id) }()
		eventually(t, "the container runs", func() bool { r := s.run(t, "state", id); return r.status == 0 })
		check("run -d", s.state(t, id).Pid, done)
	})
}

// TestNotifyEnds: a container that ends without having been ready holds nobody up.
func TestNotifyEnds(t *testing.T) {
	s := ours(t)
	subreaper(t)
	path, _ := manager(t)
	withNotify := func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path) }
	if r := s.runWith(t, withNotify, "run", "-d", "--bundle", bundle(t, nil, "true"), s.id(t)); r.status != 0 {
		t.Errorf("run -d: %s", r)
	}
	if r := s.runWith(t, withNotify, "run", "--bundle", bundle(t, nil, "sh", "-c", "exit 7"), s.id(t)+"x"); r.status != 7 {
		t.Errorf("run: %s", r)
	}
}

func TestExecFlags(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		subreaper(t)
		id := s.sleeper(t, func(c *specs.Spec) { c.Process.User.AdditionalGids = []uint32{77} })
		s.must(t, "exec", "--cwd", "/tmp", "-e", "A=1", "-e", "B=2", id, "/bin/sh", "-c", `test "$PWD$A$B" = /tmp12`)
		s.differs(t, "has no -g in this version", "crun")
		s.must(t, "exec", "-u", "5:6", "-g", "9", id, "sh", "-c", `test "$(id -u) $(id -g)" = "5 6" && id -G | grep -w 9`)
		s.must(t, "exec", "--cap", "CAP_NET_ADMIN", id, "sh", "-c", "grep -q '^CapEff:.*0000000020001420$' /proc/self/status")
		s.must(t, "exec", "--no-new-privs", id, "grep", "-q", "^NoNewPrivs:.*1", "/proc/self/status")
		if r := s.run(t, "exec", id); r.status == 0 {
			t.Errorf("no command: %s", r)
		}
		if r := s.run(t, "exec", "--user", "nobody", id, "true"); r.status == 0 {
			t.Errorf("a name as user: %s", r)
		}
	})
}

func TestExecCgroup(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.noCgroups(t)
		subreaper(t)
		id := s.sleeper(t, nil)
		dir := filepath.Join("/sys/fs/cgroup", strings.NewReplacer("/", "-").Replace(t.Name()))
		if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
		pid := s.beside(t, id, "--cgroup", "below", "sleep", "60")
		if b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup"); !strings.HasSuffix(strings.TrimSpace(string(b)), "/below") {
			t.Errorf("in %s", b)
		}
		if r := s.run(t, "exec", "--cgroup", "nosuch", id, "true"); r.status != 255 {
			t.Errorf("no such cgroup: %s", r)
		}
		if r := s.run(t, "exec", "--cgroup", "../../..", id, "sh", "-c", "true"); r.status == 0 && s.name != "berth" {
			t.Logf("%s leads out: %s", s.name, r)
		}
	})
}

func TestConsoleSocketMakesSense(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "takes them", "crun")
		b := bundle(t, func(c *specs.Spec) { c.Process.Terminal = true }, "true")
		if r := s.run(t, "run", "-d", "--bundle", b, s.id(t)); r.status == 0 || !strings.Contains(r.err, "cannot allocate tty if") {
			t.Errorf("terminal for nobody: %s", r)
		}
		if r := s.run(t, "run", "--console-socket", "/nosuch", "--bundle", bundle(t, nil, "true"), s.id(t)); r.status == 0 || !strings.Contains(r.err, "cannot use console socket") {
			t.Errorf("socket without terminal: %s", r)
		}
	})
}

func TestKillByNameAndNumber(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		subreaper(t)
		id := s.id(t)
		script := `trap 'echo usr1 >>/tmp/got' USR1; trap 'echo hup >>/tmp/got' HUP; trap 'echo term >>/tmp/got; exit 3' TERM; echo ready >/tmp/got; while :; do sleep 0.05; done`
		b := bundle(t, func(c *specs.Spec) { c.Root.Readonly = false }, "sh", "-c", script)
		s.must(t, "run", "-d", "--bundle", b, id)
		got := func(want string) {
			t.Helper()
			eventually(t, want, func() bool {
				b, _ := os.ReadFile(filepath.Join(b, "rootfs/tmp/got"))
				return string(b) == want
			})
		}
		got("ready\n")
		s.must(t, "kill", id, "USR1")
		got("ready\nusr1\n")
		s.must(t, "kill", id, "SIGHUP")
		got("ready\nusr1\nhup\n")
		s.must(t, "kill", id, "10")
		got("ready\nusr1\nhup\nusr1\n")
		if r := s.run(t, "kill", id, "NOSUCH"); r.status == 0 && s.name != "crun" {
			t.Error("an unknown signal")
		}
		s.must(t, "kill", id)
		got("ready\nusr1\nhup\nusr1\nterm\n")
	})
}

func TestKillAll(t *testing.T) {
	s := ours(t)
	subreaper(t)
	id := s.sleeper(t, nil)
	pid := s.beside(t, id, "sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.05; done")
	time.Sleep(100 * time.Millisecond) // for the trap
	s.must(t, "kill", "--all", id, "USR1")
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || ws.ExitStatus() != 9 {
		t.Errorf("%v %v", ws, err)
	}
}

// TestDevicesDenied: with the rules of the default configuration nobody opens
// a device that is not one of the default ones, whatever nodes it makes.
func TestDevicesDenied(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.noCgroups(t)
		script := `for d in "kmsg c 1 11" "mem c 1 1" "loop0 b 7 0" "null c 1 3"; do set -- $d; mknod /tmp/$1 $2 $3 $4; (: </tmp/$1) 2>/dev/null && echo open $1; done; echo x >/dev/null && echo null`
		edit := func(devices []specs.LinuxDeviceCgroup) func(*specs.Spec) {
			return func(c *specs.Spec) {
				caps := []string{"CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYSLOG", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"}
				c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
				c.Mounts = append(c.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}})
				c.Linux.Resources = &specs.LinuxResources{Devices: devices}
			}
		}
		deny := specs.LinuxDeviceCgroup{Access: "rwm"}
		r := s.shell(t, edit([]specs.LinuxDeviceCgroup{deny}), script)
		if s.name == "runc" && r.status != 0 {
			t.Skipf("runc differs: %s", r)
		}
		r.want(t, "open null\nnull")
		r = s.shell(t, edit([]specs.LinuxDeviceCgroup{deny, {Allow: true, Type: "c", Major: num(1), Minor: num(11), Access: "r"}}), script)
		r.want(t, "open kmsg\nopen null\nnull")
	})
}

// TestUpdateOfDevices: rules can change while the container runs, in one step.
func TestUpdateOfDevices(t *testing.T) {
	s := ours(t)
	subreaper(t)
	id := s.sleeper(t, func(c *specs.Spec) {
		caps := []string{"CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"}
		c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"})
		c.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}
	})
	try := func() bool {
		return s.run(t, "exec", id, "sh", "-c", "test -e /tmp/kmsg || mknod /tmp/kmsg c 1 11; : </tmp/kmsg").status == 0
	}
	if try() {
		t.Error("open before")
	}
	update := func(json string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "resources")
		if err := os.WriteFile(file, []byte(json), 0o644); err != nil {
			t.Fatal(err)
		}
		s.must(t, "update", "--resources", file, id)
	}
	update(`{"devices":[{"allow":true,"access":"rwm"}]}`)
	if !try() {
		t.Error("closed after update")
	}
	update(`{"devices":[{"allow":false,"access":"rwm"}]}`)
	if try() {
		t.Error("open after the second update")
	}
}

func TestUpdateRefused(t *testing.T) {
	s := ours(t)
	subreaper(t)
	id := s.sleeper(t, nil)
	for _, args := range [][]string{{"--cpu-rt-runtime", "1000"}, {"--memory", "x"}, {"--memory-swap", "1g"}, {"--l3-cache-schema", "L3:0=f"},
		{"--resources", "/nosuch"}, {"--pids-limit", "many"}, {"--blkio-weight", "70000"}} {
		if r := s.run(t, append(append([]string{"update"}, args...), id)...); r.status != 1 || r.err == "" {
			t.Errorf("%v: %s", args, r)
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/" + strings.ReplaceAll(t.Name(), "/", "-") + "/memory.max"); err != nil {
		r := s.run(t, "update", "--memory", "64m", id)
		if r.status != 1 || !strings.Contains(r.err, "memory.max: not supported here: needs the controller memory in ") {
			t.Errorf("without the controller: %s", r)
		}
	}
	s.must(t, "kill", id, "KILL")
	eventually(t, "its end", func() bool { return s.state(t, id).Status == specs.StateStopped })
	if r := s.run(t, "update", "--pids-limit", "-1", id); r.status != 1 {
		t.Errorf("update of a stopped container: %s", r)
	}
}

// TestSpecRootless: what spec --rootless writes can be run.
func TestSpecRootless(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		b := bundle(t, nil, "true")
		os.Remove(filepath.Join(b, "config.json"))
		r := s.must(t, "spec", "--rootless", "--bundle", b)
		if r2 := s.run(t, "spec", "--rootless", "--bundle", b); r2.status == 0 {
			t.Errorf("written twice: %s", r)
		}
		raw, err := os.ReadFile(filepath.Join(b, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := LoadSpec(raw)
		if err != nil {
			t.Fatal(err)
		}
		if s.name != "crun" && len(c.Linux.UIDMappings) != 1 || s.name == "berth" && slices.ContainsFunc(c.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace }) {
			t.Errorf("%+v", c.Linux)
		}
		if s.name != "berth" {
			return // theirs needs more of this machine than the test's
		}
		c.Process.Terminal, c.Process.Args = false, []string{"sh", "-c", "id -u"}
		writeSpec(t, b, c)
		s.run(t, "run", "--bundle", b, s.id(t)).want(t, "0")
	})
}

func TestDebugLog(t *testing.T) {
	s := ours(t)
	log := filepath.Join(t.TempDir(), "log")
	s.must(t, "--debug", "--log", log, "--log-format", "json", "list")
	b, _ := os.ReadFile(log)
	var line struct{ Level, Msg string }
	if err := json.Unmarshal(b, &line); err != nil || line.Level != "debug" || !strings.Contains(line.Msg, "list") {
		t.Errorf("%s: %v", b, err)
	}
}

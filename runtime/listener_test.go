package runtime

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// agent answers seccomp notifications as the tests want it: mkdir fails with
// EXDEV, everything else goes on.
type agent struct {
	path   string
	strict bool
	mu     sync.Mutex // guards below
	got    []specs.ContainerProcessState
	nrs    map[int32]int
	wg     sync.WaitGroup
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "a")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{path: filepath.Join(dir, "s"), nrs: make(map[int32]int)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	a.wg.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			a.wg.Go(func() { a.serve(t, c) })
		}
	})
	t.Cleanup(func() { l.Close(); a.wg.Wait(); os.RemoveAll(dir) })
	return a
}

func (a *agent) serve(t *testing.T, c *net.UnixConn) {
	defer c.Close()
	buf, oob := make([]byte, 1<<16), make([]byte, 64)
	n, m, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Error(err)
		return
	}
	var st specs.ContainerProcessState
	if err := json.Unmarshal(buf[:n], &st); err != nil {
		t.Error(err)
	}
	msgs, _ := unix.ParseSocketControlMessage(oob[:m])
	if len(msgs) != 1 {
		t.Errorf("%d control messages with %s", len(msgs), buf[:n])
		return
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		t.Errorf("descriptors: %v %v", fds, err)
		return
	}
	defer unix.Close(fds[0])
	if a.strict {
		// An agent that waits for the end before it answers anything.
		if k, err := c.Read(buf); k > 0 || err == nil {
			t.Errorf("the connection was used again: %d bytes", k)
		}
	}
	a.mu.Lock()
	a.got = append(a.got, st)
	a.mu.Unlock()
	a.answer(fds[0])
}

func (a *agent) answer(fd int) {
	// struct seccomp_notif and seccomp_notif_resp, linux/seccomp.h.
	type request struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	type response struct {
		id    uint64
		val   int64
		err   int32
		flags uint32
	}
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err == unix.EINTR {
			continue
		}
		if p[0].Revents&unix.POLLIN == 0 {
			return // the last process is gone
		}
		var q request
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xc0502100, uintptr(unsafe.Pointer(&q))); errno != 0 {
			continue
		}
		r := response{id: q.id, flags: 1} // SECCOMP_USER_NOTIF_FLAG_CONTINUE
		if q.nr == unix.SYS_MKDIRAT || q.nr == mkdirNumber {
			r.flags, r.err = 0, -int32(unix.EXDEV)
		}
		a.mu.Lock()
		a.nrs[q.nr]++
		a.mu.Unlock()
		unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xc0182101, uintptr(unsafe.Pointer(&r)))
	}
}

const mkdirNumber = 83 // of amd64, where arm64 has something that no test calls

func (a *agent) states() []specs.ContainerProcessState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]specs.ContainerProcessState(nil), a.got...)
}

func (a *agent) profile(names ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: a.path, ListenerMetadata: "for the agent",
		Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActNotify}},
	}
}

func TestSeccompNotify(t *testing.T) {
	for name, c := range map[string]struct {
		calls   []string
		nnp     bool
		differs []string
	}{
		"mkdir":      {[]string{"mkdir", "mkdirat"}, true, nil},
		"privileges": {[]string{"mkdir", "mkdirat"}, false, nil},
		// Every call that the init makes after its filter is there.
		"all": {[]string{"mkdir", "mkdirat", "execve", "sendto", "sendmsg", "recvfrom", "recvmsg", "close", "accept4", "getpid", "write", "read",
			"futex", "capset", "prctl", "setresuid", "setresgid", "setgroups", "umask", "rt_sigprocmask", "exit_group"}, false, []string{"runc", "crun"}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.differs(t, "it makes calls itself behind the filter", c.differs...)
				a := newAgent(t)
				a.strict = s.name == "berth"
				id := s.id(t)
				b := bundle(t, func(spec *specs.Spec) {
					spec.Root.Readonly = false
					spec.Process.NoNewPrivileges = c.nnp
					spec.Linux.Seccomp = a.profile(c.calls...)
				}, "sh", "-c", "mkdir /tmp/a 2>&1; echo done > /tmp/done; exec sleep 60")
				s.must(t, "create", "--bundle", b, id)
				s.must(t, "start", id)
				eventually(t, "the program has run", func() bool { _, err := os.Stat(b + "/rootfs/tmp/done"); return err == nil })
				if _, err := os.Stat(b + "/rootfs/tmp/a"); err == nil {
					t.Error("mkdir succeeded")
				}
				pid := s.state(t, id).Pid
				if got := a.states(); len(got) != 1 {
					t.Fatalf("states: %+v", got)
				} else if st := got[0]; st.Pid != pid || st.Metadata != "for the agent" || len(st.Fds) != 1 || st.Fds[0] != specs.SeccompFdName || st.State.ID != id || st.State.Pid != pid || st.State.Bundle != b {
					t.Errorf("state %+v", st)
				}
				r := s.run(t, "exec", id, "sh", "-c", "mkdir /tmp/b; cd /proc/self/fd; echo *")
				r.wantAll(t, "Invalid cross-device link", "0 1 2 3\n")
				if got := a.states(); s.name != "crun" && (len(got) != 2 || got[1].Pid == pid || got[1].State.Pid != pid || got[1].State.Status != specs.StateRunning) {
					t.Errorf("after exec: %+v", got)
				}
				s.must(t, "delete", "-f", id)
				// And without a start in between.
				b = bundle(t, func(spec *specs.Spec) {
					spec.Process.NoNewPrivileges = c.nnp
					spec.Linux.Seccomp = a.profile(c.calls...)
				}, "mkdir", "/tmp/c")
				s.run(t, "run", "--bundle", b, id).wantAll(t, "Invalid cross-device link")
				if got := a.states(); len(got) != 3 || got[2].State.ID != id {
					t.Errorf("after run: %+v", got)
				}
			})
		})
	}
}

// Without its agent no process comes to life, and nothing is left of it.
func TestSeccompNoAgent(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/no/agent", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
		b := bundle(t, func(c *specs.Spec) { c.Linux.Seccomp = profile }, "true")
		if r := s.run(t, "run", "--bundle", b, id); r.status == 0 {
			t.Error(r)
		}
		if s.name == "berth" {
			s.must(t, "create", "--bundle", b, id)
			r := s.run(t, "start", id)
			if r.status == 0 || !strings.Contains(r.err, "connect to seccomp agent /no/agent") {
				t.Error(r)
			}
			s.must(t, "delete", "-f", id)
		}
		// A path that no action needs is nobody's.
		s.differs(t, "connects all the same", "crun")
		profile.Syscalls[0].Action = specs.ActErrno
		s.run(t, "run", "--bundle", bundle(t, func(c *specs.Spec) { c.Linux.Seccomp = profile }, "echo", "ran"), id+"2").want(t, "ran")
	})
}

func TestSeccompNotifyRefused(t *testing.T) {
	for _, profile := range []string{
		`{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}`,
		`{"defaultAction":"SCMP_ACT_NOTIFY"}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}`,
	} {
		if _, err := LoadSpec([]byte(`{"root":{"path":"x"},"process":{"args":["x"],"cwd":"/"},"linux":{"seccomp":` + profile + `}}`)); err == nil {
			t.Errorf("%s: accepted", profile)
		}
	}
}

// A runtime that dies while the init looks at its word leaves no init behind
// that looks for ever.
func TestSpinEnds(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("needs root, and seconds")
	}
	p, err := newProgram(0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	first := p.here()
	p.spin(p.words(0))
	pidfd := p.words(0)
	pid, err := p.clone(&cloneArgs{flags: unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD), pidfd: pidfd}, first)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(int(p.load32(pidfd)))
	ws, err := reap(pid)
	if err != nil || !ws.Signaled() || ws.Signal() != unix.SIGILL {
		t.Errorf("ended with %s %v", fmt.Sprint(ws), err)
	}
}

// What each action does, by the end of a process that makes the call.
func TestSeccompActions(t *testing.T) {
	errno := uint(unix.ENOTTY)
	for name, c := range map[string]struct {
		rule specs.LinuxSyscall
		want string
	}{
		"kill thread":  {specs.LinuxSyscall{Action: specs.ActKillThread}, "159"},
		"kill":         {specs.LinuxSyscall{Action: specs.ActKill}, "159"},
		"kill process": {specs.LinuxSyscall{Action: specs.ActKillProcess}, "159"},
		"trap":         {specs.LinuxSyscall{Action: specs.ActTrap}, "159"},
		"errno":        {specs.LinuxSyscall{Action: specs.ActErrno, ErrnoRet: &errno}, "mkdir: can't create directory '/tmp/a': Inappropriate ioctl for device 1"},
		"trace":        {specs.LinuxSyscall{Action: specs.ActTrace}, "mkdir: can't create directory '/tmp/a': Function not implemented 1"}, // nobody traces
		"log":          {specs.LinuxSyscall{Action: specs.ActLog}, "0"},
		"allow":        {specs.LinuxSyscall{Action: specs.ActAllow}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				r := s.shell(t, func(spec *specs.Spec) {
					spec.Root.Readonly = false
					c.rule.Names = []string{"mkdir", "mkdirat", "no_such_call"}
					spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{c.rule}}
				}, `out=$(mkdir /tmp/a 2>&1); status=$?; echo $out $status`)
				r.out = strings.TrimPrefix(strings.TrimSpace(r.out), "Bad system call ")
				r.want(t, c.want)
			})
		})
	}
}

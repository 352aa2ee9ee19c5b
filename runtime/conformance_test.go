package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestExitStatus(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "exit 255": 255, "ulimit -t 0; while :; do :; done": 128 + 9} {
			if r := s.shell(t, nil, script); r.status != want {
				t.Errorf("%s: got %swant %d", script, r, want)
			}
		}
	})
}

func TestLifecycle(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		subreaper(t)
		b, id := bundle(t, nil, "sleep", "60"), s.id(t)
		pidFile := filepath.Join(t.TempDir(), "pid")
		s.must(t, "create", "--bundle", b, "--pid-file", pidFile, id)
		st := s.state(t, id)
		if st.Status != specs.StateCreated || st.ID != id || st.Bundle != b || st.Pid == 0 {
			t.Errorf("after create: %+v", st)
		}
		if pid, _ := os.ReadFile(pidFile); string(pid) != fmt.Sprint(st.Pid) {
			t.Errorf("pid file %q, state %d", pid, st.Pid)
		}
		if r := s.run(t, "create", "--bundle", b, id); r.status == 0 {
			t.Error("created twice")
		}
		_, parent := procLine(t, st.Pid, "PPid")
		if parent != fmt.Sprint(os.Getpid()) {
			t.Errorf("init's parent is %s, not the subreaper %d", parent, os.Getpid())
		}
		s.must(t, "start", id)
		if st := s.state(t, id); st.Status != specs.StateRunning {
			t.Errorf("after start: %+v", st)
		}
		if r := s.run(t, "start", id); r.status == 0 {
			t.Error("started twice")
		}
		if r := s.run(t, "delete", id); r.status == 0 {
			t.Error("deleted while running")
		}
		if r := s.must(t, "list", "-q"); strings.TrimSpace(r.out) != id {
			t.Errorf("list -q: %q", r.out)
		}
		var list []specs.State
		if err := json.Unmarshal([]byte(s.must(t, "list", "-f", "json").out), &list); err != nil || len(list) != 1 || list[0].ID != id {
			t.Errorf("list -f json: %+v %v", list, err)
		}
		s.must(t, "kill", id, "KILL")
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(st.Pid, &ws, 0, nil); err != nil || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
			t.Errorf("wait: %v %v", ws, err)
		}
		if st := s.state(t, id); st.Status != specs.StateStopped {
			t.Errorf("after kill: %+v", st)
		}
		if r := s.run(t, "kill", id, "TERM"); r.status == 0 {
			t.Error("killed a stopped container")
		}
		if r := s.run(t, "exec", id, "true"); r.status == 0 {
			t.Error("exec in a stopped container")
		}
		s.must(t, "delete", id)
		if r := s.run(t, "state", id); r.status == 0 {
			t.Error("state of a deleted container")
		}
	})
}

// procLine reads a line of /proc/PID/status.
func procLine(t *testing.T, pid int, name string) (line, value string) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, name+":"); ok {
			return l, strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s in status of %d", name, pid)
	return "", ""
}

func TestDeleteForce(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
		s.must(t, "delete", "--force", id)
		s.must(t, "delete", "--force", id)
	})
}

func TestCommandNotFound(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		for arg, want := range map[string]string{"nope": "executable file not found in $PATH", "/etc": "permission denied", "/nope": "no such file or directory"} {
			log := filepath.Join(t.TempDir(), "log")
			r := s.run(t, "--log", log, "--log-format", "json", "run", "--bundle", bundle(t, nil, arg), s.id(t))
			if r.status != 1 && s.name == "berth" || r.status == 0 {
				t.Errorf("%s: %s", arg, r)
			}
			b, _ := os.ReadFile(log)
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			var line struct{ Level, Msg, Time string }
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || line.Level != "error" || line.Time == "" {
				t.Errorf("%s: log %q: %v", arg, b, err)
			}
			if s.name == "runc" && strings.Contains(line.Msg, "is a directory") {
				continue // since 1.1.15
			}
			if s.name != "crun" && !strings.Contains(line.Msg, want) {
				t.Errorf("%s: log says %q, want %q", arg, line.Msg, want)
			}
		}
	})
}

func TestProcess(t *testing.T) {
	umask := uint32(0o027)
	score := 321
	for name, c := range map[string]struct {
		edit         func(*specs.Spec)
		script, want string
	}{
		"user": {func(c *specs.Spec) { c.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 6}} },
			`id -u; id -g; grep Groups /proc/self/status`, "1000\n1001\nGroups:\t5 6"},
		"umask": {func(c *specs.Spec) { c.Process.User.Umask = &umask }, "umask", "0027"},
		"env":   {func(c *specs.Spec) { c.Process.Env = append(c.Process.Env, "A=1", "A=2") }, "echo $A $HOME", "2 /"},
		"cwd":   {func(c *specs.Spec) { c.Process.Cwd = "/made/here"; c.Root.Readonly = false }, "pwd", "/made/here"},
		"host":  {func(c *specs.Spec) { c.Hostname = "box" }, "hostname", "box"},
		"rlimit": {func(c *specs.Spec) {
			c.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}}
		}, "ulimit -n; ulimit -Hn", "77\n88"},
		"score": {func(c *specs.Spec) { c.Process.OOMScoreAdj = &score }, "cat /proc/self/oom_score_adj", "321"},
		"caps": {func(c *specs.Spec) {
			caps := []string{"CAP_KILL", "CAP_CHOWN"}
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps[:1]}
		}, "grep -E 'CapInh|CapPrm|CapEff|CapBnd' /proc/self/status",
			"CapInh:\t0000000000000000\nCapPrm:\t0000000000000021\nCapEff:\t0000000000000021\nCapBnd:\t0000000000000021"},
		"ambient": {func(c *specs.Spec) {
			caps := []string{"CAP_KILL"}
			c.Process.User = specs.User{UID: 1000, GID: 1000}
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps, Inheritable: caps, Ambient: caps}
		}, "grep -E 'CapPrm|CapEff|CapAmb' /proc/self/status", "CapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nCapAmb:\t0000000000000020"},
		"no capabilities": {func(c *specs.Spec) { c.Process.Capabilities = nil }, "grep -E 'CapPrm|CapBnd' /proc/self/status",
			"CapPrm:\t0000000000000000\nCapBnd:\t0000000000000000"},
		"new privileges": {func(c *specs.Spec) { c.Process.NoNewPrivileges = false }, "grep NoNew /proc/self/status", "NoNewPrivs:\t0"},
		"signals":        {nil, "grep SigBlk /proc/self/status", "SigBlk:\t0000000000000000"},
		"descriptors":    {nil, "cd /proc/self/fd; echo *", "0 1 2 3"},
		"pid":            {nil, "echo $$", "1"},
		"session":        {nil, "cut -d' ' -f6 /proc/self/stat", "1"},
		"cgroup ns":      {nil, "grep ^0: /proc/self/cgroup", "0::/"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				if name == "cgroup ns" {
					s.differs(t, "is run without cgroups here", "crun")
				}
				s.shell(t, c.edit, c.script).want(t, c.want)
			})
		})
	}
}

func TestMounts(t *testing.T) {
	host := t.TempDir()
	os.Chmod(filepath.Dir(host), 0o755)
	os.WriteFile(filepath.Join(host, "file"), []byte("content"), 0o644)
	add := func(m ...specs.Mount) func(*specs.Spec) {
		return func(c *specs.Spec) { c.Root.Readonly = false; c.Mounts = append(c.Mounts, m...) }
	}
	for name, c := range map[string]struct {
		edit         func(*specs.Spec)
		script, want string
	}{
		"bind":          {add(specs.Mount{Destination: "/mnt/a/b", Source: host, Type: "bind", Options: []string{"bind"}}), "cat /mnt/a/b/file; echo x > /mnt/a/b/new && echo ok", "contentok"},
		"bind file":     {add(specs.Mount{Destination: "/mnt/file", Source: host + "/file", Type: "bind", Options: []string{"bind"}}), "cat /mnt/file", "content"},
		"read-only":     {add(specs.Mount{Destination: "/mnt", Source: host, Type: "bind", Options: []string{"rbind", "ro"}}), "echo x 2>/dev/null > /mnt/new || echo refused", "refused"},
		"tmpfs":         {add(specs.Mount{Destination: "/mnt", Source: "tmpfs", Type: "tmpfs", Options: []string{"size=64k", "mode=700", "noexec"}}), "stat -c %a /mnt; grep -c 'tmpfs /mnt tmpfs.*noexec.*size=64k' /proc/mounts", "700\n1"},
		"mode of tmpfs": {add(specs.Mount{Destination: "/odd", Source: "tmpfs", Type: "tmpfs"}), "stat -c %a /odd; ls /odd", "1751"},
		"tmpcopyup": {add(specs.Mount{Destination: "/odd", Source: "tmpfs", Type: "tmpfs", Options: []string{"ro", "tmpcopyup"}}),
			"stat -c %a /odd; cd /odd; stat -c '%n %a %F %u %g' *; cat file sub/deep; readlink link; touch x 2>/dev/null || echo refused",
			"1751\nfile 4755 regular file 7 8\nlink 777 symbolic link 0 0\npipe 600 fifo 0 0\nsub 700 directory 0 0\ncontent\ndeeper\n/etc/shadow\nrefused"},
		"below proc":  {add(specs.Mount{Destination: "/proc/cpuinfo", Source: host + "/file", Type: "bind", Options: []string{"bind"}}), "cat /proc/cpuinfo", "content"},
		"masked":      {nil, "cat /proc/timer_list; ls /proc/acpi /sys/firmware | grep -v :; head -c1 /proc/keys | wc -c", "0"},
		"read-only p": {nil, "echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused", "refused"},
		"root":        {nil, "touch /x 2>/dev/null || echo refused", "refused"},
		"devices":     {nil, "echo x > /dev/null; head -c3 /dev/zero | wc -c; readlink /dev/fd; readlink /dev/stdin; readlink /dev/ptmx; stat -c '%t:%T %a' /dev/null /dev/tty", "3\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n1:3 666\n5:0 666"},
		"device": {func(c *specs.Spec) {
			mode := os.FileMode(0o640)
			uid := uint32(7)
			c.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/berth", Type: "c", Major: 1, Minor: 5, FileMode: &mode, UID: &uid, GID: &uid}}
		}, "stat -c '%t:%T %a %u %g' /dev/berth", "1:5 640 7 7"},
		"symlink": {func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/link/in", Source: "tmpfs", Type: "tmpfs"})
			c.Root.Readonly = false
		}, "readlink /link; grep -c ' /real/in tmpfs' /proc/mounts", "/real\n1"},
		"nothing of the host": {nil, "grep -c ' /oldroot\\| /.pivot' /proc/mounts || true", "0"},
		"sysctl": {func(c *specs.Spec) {
			c.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmni": "99"}
		},
			"cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni", "1\n99"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				switch name {
				case "mode of tmpfs":
					s.differs(t, "a tmpfs has mode 1777", "crun")
				case "tmpcopyup":
					s.differs(t, "a tmpfs has mode 1777", "crun")
					s.differs(t, "it cannot copy a FIFO", "runc")
				case "sysctl":
					if unix.Access("/proc/sys/kernel/shmmni", unix.W_OK) != nil {
						s.differs(t, "it writes to the caller's /proc/sys, which is read-only here", "crun")
					}
				}
				b := bundle(t, c.edit, "sh", "-c", c.script)
				os.Mkdir(b+"/rootfs/real", 0o755)
				os.Symlink("/real", b+"/rootfs/link")
				odd(t, b+"/rootfs/odd")
				s.run(t, "run", "--bundle", b, s.id(t)).want(t, c.want)
			})
		})
	}
}

// odd makes a directory with something of each kind.
func odd(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(
		os.MkdirAll(dir+"/sub", 0o700),
		os.WriteFile(dir+"/file", []byte("content\n"), 0o600), os.Chown(dir+"/file", 7, 8), os.Chmod(dir+"/file", 0o755|os.ModeSetuid),
		os.WriteFile(dir+"/sub/deep", []byte("deeper\n"), 0o600),
		os.Symlink("/etc/shadow", dir+"/link"), unix.Mkfifo(dir+"/pipe", 0o600),
		os.Chmod(dir, 0o751|os.ModeSticky),
	); err != nil {
		t.Fatal(err)
	}
}

// A network namespace of the container's own has a loopback that works.
func TestLoopback(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.shell(t, nil, "grep -c '^0*1 .* lo$' /proc/net/if_inet6; cat /proc/net/fib_trie | grep -c 127.0.0.1").want(t, "1\n2")
	})
}

func TestPropagation(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
			t.Fatal(err)
		}
		os.Mkdir(dir+"/in", 0o755)
		r := s.shell(t, func(c *specs.Spec) {
			c.Root.Readonly = false
			c.Linux.RootfsPropagation = "rshared"
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/mnt", Source: dir, Type: "bind", Options: []string{"rbind", "rshared"}})
			caps := []string{"CAP_SYS_ADMIN"}
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
		}, "mount -t tmpfs tmpfs /mnt/in && touch /mnt/in/seen")
		if r.status != 0 {
			t.Fatal(r)
		}
		if _, err := os.Stat(dir + "/in/seen"); err != nil {
			t.Errorf("a mount in an rshared volume is not seen outside: %v", err)
		}
		unix.Unmount(dir+"/in", unix.MNT_DETACH)
	})
}

func TestSeccomp(t *testing.T) {
	arches := []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM}
	errno := uint(unix.ENOTTY)
	for name, nnp := range map[string]bool{"no new privileges": true, "privileges": false} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.shell(t, func(c *specs.Spec) {
					c.Root.Readonly = false
					c.Process.NoNewPrivileges = nnp
					c.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: arches, Syscalls: []specs.LinuxSyscall{
						{Names: []string{"mkdir", "mkdirat", "no_such_call"}, Action: specs.ActErrno},
						{Names: []string{"chmod", "fchmodat"}, Action: specs.ActErrno, ErrnoRet: &errno},
						{Names: []string{"kill"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 12, Op: specs.OpEqualTo}}},
					}}
				}, "mkdir /a; chmod 1 /tmp; kill -12 1; kill -0 1 && echo ok; grep Seccomp: /proc/self/status; exec 2>&1").
					wantAll(t, "Operation not permitted", "Inappropriate ioctl", "ok", "Seccomp:\t2")
			})
		})
	}
}

// wantAll looks for texts in all that was written.
func (r result) wantAll(t *testing.T, texts ...string) {
	t.Helper()
	for _, x := range texts {
		if !strings.Contains(r.out+r.err, x) {
			t.Errorf("no %q in %s", x, r)
		}
	}
}

func TestExec(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
		for name, c := range map[string]struct {
			args   []string
			want   string
			status int
		}{
			"status":   {[]string{id, "sh", "-c", "exit 9"}, "", 9},
			"output":   {[]string{id, "echo", "hi"}, "hi", 0},
			"user":     {[]string{"--user", "5:6", id, "sh", "-c", "id -u; id -g"}, "5\n6", 0},
			"cwd":      {[]string{"--cwd", "/tmp", id, "pwd"}, "/tmp", 0},
			"env":      {[]string{"--env", "A=b", "--env", "PATH=/bin", id, "sh", "-c", "echo $A"}, "b", 0},
			"pid":      {[]string{id, "cat", "/proc/1/comm"}, "sleep", 0},
			"caps":     {[]string{"--cap", "CAP_CHOWN", id, "grep", "CapEff", "/proc/self/status"}, "CapEff:\t0000000020000421", 0},
			"fds":      {[]string{id, "sh", "-c", "cd /proc/self/fd; echo *"}, "0 1 2 3", 0},
			"hostname": {[]string{id, "hostname"}, "berth", 0},
		} {
			if name == "caps" {
				if s.name != "berth" {
					continue // each adds to sets of its own choice
				}
			}
			r := s.run(t, append([]string{"exec"}, c.args...)...)
			if r.status != c.status || strings.TrimSpace(r.out) != c.want {
				t.Errorf("%s: got %swant %d %q", name, r, c.status, c.want)
			}
		}
		if r := s.run(t, "exec", id, "nope"); r.status == 0 {
			t.Error("exec of nothing succeeds")
		} else if s.name == "berth" {
			if r.status != 127 {
				t.Errorf("not found: %s", r)
			}
			r.wantAll(t, `exec: "nope": executable file not found in $PATH`)
			if r := s.run(t, "exec", id, "/etc"); r.status != 126 {
				t.Errorf("not executable: %s", r)
			}
		}
		file := filepath.Join(t.TempDir(), "p.json")
		os.WriteFile(file, []byte(`{"args":["sh","-c","echo $X; pwd"],"env":["X=y","PATH=/bin"],"cwd":"/etc","user":{"uid":0,"gid":0}}`), 0o644)
		s.run(t, "exec", "--process", file, id).want(t, "y\n/etc")
		pid := filepath.Join(t.TempDir(), "pid")
		s.must(t, "exec", "-d", "--pid-file", pid, id, "sleep", "50")
		b, _ := os.ReadFile(pid)
		eventually(t, "detached exec runs", func() bool {
			comm, _ := os.ReadFile("/proc/" + string(b) + "/comm")
			return string(comm) == "sleep\n"
		})
	})
}

// console listens as an engine does, and returns the terminal's master.
func console(t *testing.T) (path string, master func() *os.File) {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path, func() *os.File {
		t.Helper()
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		oob := make([]byte, 64)
		_, n, _, _, err := c.ReadMsgUnix(make([]byte, 4096), oob)
		if err != nil {
			t.Fatal(err)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(msgs) != 1 {
			t.Fatalf("console: %v %v", msgs, err)
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("console: %v %v", fds, err)
		}
		f := os.NewFile(uintptr(fds[0]), "master")
		t.Cleanup(func() { f.Close() })
		return f
	}
}

func readAll(f *os.File) string {
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestTerminal(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		path, master := console(t)
		id := s.id(t)
		b := bundle(t, func(c *specs.Spec) {
			c.Process.Terminal = true
			c.Process.ConsoleSize = &specs.Box{Width: 91, Height: 17}
		}, "sh", "-c", "tty; stty size; readlink /proc/self/fd/0; test -c /dev/console && echo console; echo x > /dev/tty")
		if r := s.run(t, "create", "--bundle", b, id); r.status == 0 {
			t.Error("created with a terminal that nobody gets")
		}
		s.must(t, "create", "--bundle", b, "--console-socket", path, id)
		m := master()
		s.must(t, "start", id)
		got := strings.ReplaceAll(readAll(m), "\r", "")
		want := "/dev/pts/0\n17 91\n/dev/pts/0\nconsole\nx\n"
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestHooks(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		dir := t.TempDir()
		os.Chmod(filepath.Dir(dir), 0o777)
		os.Chmod(dir, 0o777)
		log := filepath.Join(dir, "log")
		hook := func(name string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c",
				`s=$(cat); case "$s" in *'"id":"` + "TestHooks" + `'*) ;; *) exit 1;; esac; echo ` + name + ` $(echo "$s" | grep -o '"status":"[a-z]*"') $X >> ` + log}, Env: []string{"X=y", "PATH=/bin:/usr/bin"}}}
		}
		id := s.id(t)
		b := bundle(t, func(c *specs.Spec) {
			//lint:ignore SA1019 engines still use prestart
			c.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"),
				StartContainer: hook("startContainer"), Poststart: hook("poststart"), Poststop: hook("poststop")}
			c.Mounts = append(c.Mounts, specs.Mount{Destination: dir, Source: dir, Type: "bind", Options: []string{"bind", "rw"}})
			c.Root.Readonly = false
		}, "sh", "-c", "echo program >> "+log+"; exec sleep 60")
		s.must(t, "create", "--bundle", b, id)
		s.must(t, "start", id)
		eventually(t, "program runs", func() bool { b, _ := os.ReadFile(log); return strings.Contains(string(b), "program") })
		s.must(t, "delete", "--force", id)
		got, _ := os.ReadFile(log)
		var names []string
		for l := range strings.SplitSeq(strings.TrimSpace(string(got)), "\n") {
			names = append(names, strings.Fields(l)[0])
		}
		order := strings.Join(names, " ")
		want := "prestart createRuntime createContainer startContainer"
		if s.name != "berth" {
			want = "prestart createRuntime createContainer" // these do not wait for the execve
		}
		if !strings.HasPrefix(order, want) || !strings.HasSuffix(order, "poststop") || len(names) != 7 {
			t.Errorf("got %s\n%s", order, got)
		}
		if s.name == "berth" {
			for _, w := range []string{`createRuntime "status":"created" y`, `startContainer "status":"created" y`, `poststart "status":"running" y`, `poststop "status":"stopped" y`} {
				if !strings.Contains(string(got), w) {
					t.Errorf("no %q in %s", w, got)
				}
			}
		}
	})
}

func TestHookFails(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		one := 1
		for name, h := range map[string]specs.Hook{
			"fails": {Path: "/bin/false"}, "hangs": {Path: "/bin/sleep", Args: []string{"sleep", "20"}, Timeout: &one}, "missing": {Path: "/nope"}} {
			for _, point := range []string{"createRuntime", "createContainer"} {
				id := s.id(t)
				b := bundle(t, func(c *specs.Spec) {
					c.Hooks = &specs.Hooks{}
					if point == "createRuntime" {
						c.Hooks.CreateRuntime = []specs.Hook{h}
					} else {
						c.Hooks.CreateContainer = []specs.Hook{h}
					}
				}, "true")
				if r := s.run(t, "create", "--bundle", b, id); r.status == 0 {
					t.Errorf("%s hook %s: created", point, name)
				}
				if s.name == "berth" {
					if r := s.run(t, "state", id); r.status == 0 {
						t.Errorf("%s hook %s: something is left", point, name)
					}
				}
			}
		}
	})
}

// Hooks of start that fail end the container, those of delete only say so.
func TestLateHookFails(t *testing.T) {
	s := ours(t)
	again := filepath.Join(t.TempDir(), "again")
	fails := []specs.Hook{{Path: "/bin/false"}, {Path: "/bin/touch", Args: []string{"touch", again}}}
	for point, hooks := range map[string]*specs.Hooks{
		"startContainer": {StartContainer: []specs.Hook{{Path: "/nope"}}}, "poststart": {Poststart: fails}, "poststop": {Poststop: fails}} {
		id := s.id(t)
		s.must(t, "create", "--bundle", bundle(t, func(c *specs.Spec) { c.Hooks = hooks }, "sleep", "60"), id)
		r := s.run(t, "start", id)
		if wrong := r.status == 0; wrong != (point == "poststop") {
			t.Errorf("%s: start: %s", point, r)
		}
		if point != "poststop" {
			if st := s.state(t, id); st.Status != specs.StateStopped {
				t.Errorf("%s: %s after the hook failed", point, st.Status)
			}
			s.must(t, "delete", id)
			continue
		}
		log := filepath.Join(t.TempDir(), "log")
		s.must(t, "--log", log, "delete", "--force", id)
		if b, _ := os.ReadFile(log); !strings.Contains(string(b), "level=warning") || !strings.Contains(string(b), "poststop hook") {
			t.Errorf("log: %s", b)
		}
		if _, err := os.Stat(again); err != nil {
			t.Errorf("the hook after one that failed: %v", err)
		}
	}
}

func TestJoinNamespaces(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
		pid := s.state(t, id).Pid
		second := &subject{s.name, s.argv, s.root}
		b := bundle(t, func(c *specs.Spec) {
			c.Hostname = ""
			c.Linux.CgroupsPath += "-2"
			for i := range c.Linux.Namespaces {
				n := &c.Linux.Namespaces[i]
				switch n.Type {
				case specs.NetworkNamespace:
					n.Path = fmt.Sprintf("/proc/%d/ns/net", pid)
				case specs.IPCNamespace:
					n.Path = fmt.Sprintf("/proc/%d/ns/ipc", pid)
				case specs.UTSNamespace:
					n.Path = fmt.Sprintf("/proc/%d/ns/uts", pid)
				case specs.PIDNamespace:
					n.Path = fmt.Sprintf("/proc/%d/ns/pid", pid)
				}
			}
		}, "sh", "-c", "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; hostname; cat /proc/1/comm")
		r := second.run(t, "run", "--bundle", b, id+"2")
		var want []string
		for _, n := range []string{"net", "ipc", "uts", "pid"} {
			l, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, n))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, l)
		}
		r.want(t, strings.Join(want, "\n")+"\nberth\nsleep")
	})
}

func TestUserNamespace(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		b := bundle(t, func(c *specs.Spec) {
			c.Root.Readonly = false
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			c.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
			c.Linux.GIDMappings = c.Linux.UIDMappings
			c.Process.User = specs.User{UID: 0, GID: 0, AdditionalGids: []uint32{9}}
			if s.name != "runc" { // which may not make the directory that it copies to
				c.Mounts = append(c.Mounts, specs.Mount{Destination: "/odd", Source: "tmpfs", Type: "tmpfs", Options: []string{"tmpcopyup"}})
			}
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/new/dir", Source: "tmpfs", Type: "tmpfs"})
		}, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /dev/shm/x /tmp/made && stat -c %u /dev/shm /dev/shm/x /tmp/made /odd/sub/file; echo > /dev/null && echo null; sleep 60")
		if err := errors.Join(os.MkdirAll(b+"/rootfs/odd/sub", 0o700), os.WriteFile(b+"/rootfs/odd/sub/file", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("chown", "-hR", "100000:100000", b+"/rootfs").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		for d := b; len(d) > 1; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		os.Chmod(b+"/rootfs", 0o555) // as Podman has it: a mode is nothing to root
		out, err := os.Create(filepath.Join(b, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		r := s.runWith(t, func(c *exec.Cmd) { c.Stdout = out }, "run", "-d", "--bundle", b, id)
		if r.status != 0 {
			t.Fatal(r)
		}
		want := "0 0 100000 65536 0 0 0 0 null"
		var got string
		eventually(t, "output", func() bool {
			o, _ := os.ReadFile(out.Name())
			got = strings.Join(strings.Fields(string(o)), " ")
			return len(got) >= len(want)
		})
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		s.run(t, "exec", id, "sh", "-c", "id -u; cat /proc/self/uid_map; stat -c %u /tmp/made").want(t, "0\n         0     100000      65536\n0")
	})
}

func TestPreserveFDs(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.WriteString("kept")
		f.Seek(0, 0)
		b := bundle(t, nil, "sh", "-c", "cat <&3; cd /proc/self/fd; echo; echo *")
		r := s.runWith(t, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{f} }, "run", "--preserve-fds", "1", "--bundle", b, s.id(t))
		r.want(t, "kept\n0 1 2 3 4")
		f.Seek(0, 0)
		b = bundle(t, nil, "sh", "-c", "cd /proc/self/fd; echo *")
		r = s.runWith(t, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{f} }, "run", "--bundle", b, s.id(t))
		r.want(t, "0 1 2 3")
	})
}

func TestKill(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		for _, sig := range []string{"USR1", "SIGUSR1", "10"} {
			out := filepath.Join(t.TempDir(), "out")
			f, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			id := s.id(t)
			b := bundle(t, nil, "sh", "-c", `trap "echo got; exit" USR1; echo ready; while :; do sleep 0.01; done`)
			s.runWith(t, func(c *exec.Cmd) { c.Stdout = f }, "run", "-d", "--bundle", b, id)
			read := func() string { b, _ := os.ReadFile(out); return string(b) }
			eventually(t, "trap", func() bool { return read() == "ready\n" })
			s.must(t, "kill", id, sig)
			eventually(t, sig, func() bool { return read() == "ready\ngot\n" })
			eventually(t, "stopped", func() bool { return s.state(t, id).Status == specs.StateStopped })
			s.must(t, "delete", id)
			f.Close()
		}
	})
}

// TestRootMount has the root file system itself mounted by the runtime: an
// overlay, of so many layers that fsconfig does not take their list.
func TestRootMount(t *testing.T) {
	s := ours(t)
	for name, layers := range map[string]int{"few layers": 2, "many layers": 12} {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			// Overlay does not stack on every file system the tests may run on.
			if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			defer unix.Unmount(scratch, unix.MNT_DETACH)
			var lower []string
			for i := range layers {
				dir := filepath.Join(scratch, fmt.Sprintf("layer-with-a-long-name-%02d", i))
				os.MkdirAll(dir, 0o755)
				os.WriteFile(fmt.Sprintf("%s/from%d", dir, i), nil, 0o644)
				lower = append(lower, dir)
			}
			os.Mkdir(scratch+"/upper", 0o755)
			os.Mkdir(scratch+"/work", 0o755)
			b := bundle(t, func(c *specs.Spec) {
				c.Root.Readonly = false
				c.Mounts = append([]specs.Mount{{Destination: "/", Type: "overlay", Source: "overlay", Options: []string{
					"lowerdir=" + strings.Join(lower, ":") + ":" + filepath.Join(scratch, "base"), "upperdir=" + scratch + "/upper", "workdir=" + scratch + "/work"}}}, c.Mounts...)
			}, "sh", "-c", "ls -d /from*| wc -l; echo x > /written; grep -c ' / overlay' /proc/mounts")
			if out, err := exec.Command("cp", "-a", b+"/rootfs", scratch+"/base").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			os.RemoveAll(b + "/rootfs")
			os.Mkdir(b+"/rootfs", 0o755)
			s.run(t, "run", "--bundle", b, s.id(t)).want(t, fmt.Sprintf("%d\n1", layers))
			if _, err := os.Stat(scratch + "/upper/written"); err != nil {
				t.Error(err)
			}
			mounts, _ := os.ReadFile("/proc/self/mounts")
			if strings.Contains(string(mounts), "overlay "+b) {
				t.Error("the overlay is mounted outside of the container")
			}
		})
	}
}

// TestHybridCgroups runs where the v2 tree is only at /sys/fs/cgroup/unified.
func TestHybridCgroups(t *testing.T) {
	s := ours(t)
	script := `mount --make-rprivate / && mount --move /sys/fs/cgroup /mnt && mount -t tmpfs tmpfs /sys/fs/cgroup &&
mkdir /sys/fs/cgroup/unified && mount --move /mnt /sys/fs/cgroup/unified && exec "$@"`
	b := bundle(t, nil, "grep", "^0:", "/proc/self/cgroup")
	id := s.id(t)
	argv := append([]string{"-m", "sh", "-c", script, "sh"}, append(append([]string{}, s.argv...), "run", "--bundle", b, id)...)
	out, err := exec.Command("unshare", argv...).CombinedOutput()
	if err != nil || string(out) != "0::/\n" {
		t.Errorf("got %q %v", out, err)
	}
}

// TestCreateStart has the failure of an execve that only the container's user
// meets told by start.
func TestCreateStart(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	b := bundle(t, func(c *specs.Spec) { c.Process.User = specs.User{UID: 1000, GID: 1000} }, "/bin/private")
	os.WriteFile(b+"/rootfs/bin/private", []byte("#!/bin/sh\n"), 0o700)
	for d := b; len(d) > 1; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	s.must(t, "create", "--bundle", b, id)
	r := s.run(t, "start", id)
	if r.status != 1 {
		t.Error(r)
	}
	r.wantAll(t, `exec: "/bin/private": permission denied`)
	if st := s.state(t, id); st.Status != specs.StateStopped {
		t.Errorf("after a failed start: %+v", st)
	}
}

// TestJoinUserNamespace is the second container of a pod.
func TestJoinUserNamespace(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
		mapped := func(c *specs.Spec, path string) {
			c.Root.Readonly = false
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})
			c.Linux.UIDMappings, c.Linux.GIDMappings = maps, maps
		}
		own := func(b string) string {
			if out, err := exec.Command("chown", "-hR", "100000:100000", b+"/rootfs").CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			for d := b; len(d) > 1; d = filepath.Dir(d) {
				os.Chmod(d, 0o755)
			}
			return b
		}
		s.must(t, "run", "-d", "--bundle", own(bundle(t, func(c *specs.Spec) { mapped(c, "") }, "sleep", "60")), id)
		pid := s.state(t, id).Pid
		want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
		if err != nil {
			t.Fatal(err)
		}
		b := own(bundle(t, func(c *specs.Spec) {
			mapped(c, fmt.Sprintf("/proc/%d/ns/user", pid))
			if s.name == "crun" { // refuses mappings beside a path; runc refuses a path without
				c.Linux.UIDMappings, c.Linux.GIDMappings = nil, nil
			}
			c.Linux.CgroupsPath += "-2"
			for i := range c.Linux.Namespaces {
				if n := &c.Linux.Namespaces[i]; n.Type == specs.NetworkNamespace {
					n.Path = fmt.Sprintf("/proc/%d/ns/net", pid)
				}
			}
		}, "sh", "-c", "readlink /proc/self/ns/user; echo $$; id -u; touch /made && stat -c %u /made /dev/shm; exit 4"))
		r := s.run(t, "run", "--bundle", b, id+"2")
		if r.status != 4 || strings.TrimSpace(r.out) != want+"\n1\n0\n0\n0" {
			t.Errorf("got %swant %s", r, want)
		}
	})
}

package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// attackKeys looks for the keys of whoever started the container.
func attackKeys() error {
	for name, ring := range map[string]int{"session": unix.KEY_SPEC_SESSION_KEYRING, "process": unix.KEY_SPEC_PROCESS_KEYRING, "thread": unix.KEY_SPEC_THREAD_KEYRING} {
		if id, err := unix.KeyctlSearch(ring, "user", "berth-secret", 0); err == nil {
			buf := make([]byte, 64)
			n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
			fmt.Printf("%s keyring: %q %v\n", name, buf[:max(min(n, len(buf)), 0)], err)
		}
	}
	if b, err := os.ReadFile("/proc/keys"); err == nil && strings.Contains(string(b), "berth-secret") {
		fmt.Println("/proc/keys names it")
	}
	return nil
}

// TestAttackKeyring reads a key of the caller's session in the container.
//
// Seen to succeed with --no-new-keyring, which is the last case.
func TestAttackKeyring(t *testing.T) {
	s := ours(t)
	done := make(chan error)
	run := func(args ...string) (r result) {
		// A session keyring is a thread's; this one ends with its goroutine.
		go func() {
			runtime.LockOSThread()
			if _, err := unix.KeyctlJoinSessionKeyring("berth-test"); err != nil {
				done <- fmt.Errorf("join session keyring: %w", err)
				return
			}
			if _, err := unix.AddKey("user", "berth-secret", []byte("loot"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
				done <- err
				return
			}
			r = s.run(t, args...)
			done <- nil
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return r
	}
	b := bundle(t, func(c *specs.Spec) {
		attacker(t, c, "keys")
		c.Linux.MaskedPaths = nil
	})
	if r := run("run", "--bundle", b, s.id(t)); strings.Contains(r.out, "keyring") {
		t.Errorf("got %s", r)
	}
	if r := run("run", "--no-new-keyring", "--bundle", b, s.id(t)+"-2"); !strings.Contains(r.out, "loot") {
		t.Errorf("with the caller's keyring it should have the key: %s", r)
	}
}

// TestAttackGroups looks for groups that the runtime's caller is in, which
// would open files of the host's in a volume.
//
// Seen to succeed with the step "set groups" left out.
func TestAttackGroups(t *testing.T) {
	s := ours(t)
	with := func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4242, 4343}}}
	}
	const look = "grep ^Groups: /proc/self/status | grep -E '4242|4343|65534'; true"
	s.runWith(t, with, "run", "--bundle", bundle(t, nil, "sh", "-c", look), s.id(t)).want(t, "")
	id := s.id(t) + "-exec"
	s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
	defer s.run(t, "delete", "-f", id)
	s.runWith(t, with, "exec", id, "sh", "-c", look).want(t, "")
	s.runWith(t, with, "exec", "-u", "1000:1000", id, "sh", "-c", look).want(t, "")
	b := bundle(t, func(c *specs.Spec) {
		c.Linux.CgroupsPath += "-user"
		c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		c.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
		c.Linux.GIDMappings = c.Linux.UIDMappings
	}, "sh", "-c", look)
	giveTree(t, b+"/rootfs", 100000)
	s.runWith(t, with, "run", "--bundle", b, s.id(t)+"-user").want(t, "")
}

// TestAttackEnvironment has the runtime's own secrets in its environment, and
// the loader's variables in the container's: neither may get where it does not
// belong, to the container, to hooks, to programs that the runtime starts.
//
// Seen to succeed with cmd.Env of a hook left nil.
func TestAttackEnvironment(t *testing.T) {
	s := ours(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "hook")
	with := func(c *exec.Cmd) { c.Env = append(os.Environ(), "SECRET=loot", "LD_PRELOAD=/no/such.so") }
	hook := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "env >>" + out + "; cat /proc/self/environ >>" + out}}}
	b := bundle(t, func(c *specs.Spec) {
		c.Process.Env = append(c.Process.Env, "LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil", "GODEBUG=netdns=go", "BASH_ENV=/evil", "CONTAINERS=1")
		c.Hooks = &specs.Hooks{CreateRuntime: hook, CreateContainer: hook, Poststart: hook, Poststop: hook}
	}, "sh", "-c", "cat /proc/self/environ /proc/1/environ")
	r := s.runWith(t, with, "run", "--bundle", b, s.id(t))
	if r.status != 0 || strings.Contains(r.out, "loot") || strings.Contains(r.out, "/no/such.so") {
		t.Errorf("the container has %s", r)
	}
	got, err := os.ReadFile(out)
	if err != nil || len(got) == 0 {
		t.Fatalf("no hook ran: %v", err)
	}
	for _, word := range []string{"SECRET", "LD_PRELOAD", "evil", "CONTAINERS"} {
		if strings.Contains(string(got), word) {
			t.Errorf("hooks have %s", word)
		}
	}
}

// TestAttackPasswd brings an /etc/passwd that is not a file to be read: the
// runtime must neither hang, nor run out of memory, nor read what it leads to.
func TestAttackPasswd(t *testing.T) {
	s := ours(t)
	secret := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(secret, []byte("root:x:0:0::/loot:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(p string) error{
		"fifo":          func(p string) error { return unix.Mkfifo(p, 0o666) },
		"directory":     func(p string) error { return os.Mkdir(p, 0o755) },
		"outside":       func(p string) error { return os.Symlink(secret, p) },
		"above":         func(p string) error { return os.Symlink(strings.Repeat("../", 30)+secret, p) },
		"magic":         func(p string) error { return os.Symlink("/proc/self/fd/0", p) },
		"loop":          func(p string) error { return os.Symlink("passwd", p) },
		"terminal":      func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))) },
		"endless":       func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
		"socket":        func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o666, 0) },
		"a terabyte":    func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o644), os.Truncate(p, 1<<40)) },
		"one long line": func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("x", 1<<21)), 0o644) },
		"fields":        func(p string) error { return os.WriteFile(p, []byte(":::::\n0\n\x00:x:0\nroot:x:0:0\n"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, func(c *specs.Spec) { c.Process.Env = nil }, "/bin/sh", "-c", "echo $HOME")
			if err := make(b + "/rootfs/etc/passwd"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			s.run(t, "run", "--bundle", b, s.id(t)).want(t, "/")
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestAttackPath resolves a command by a search path of the image's: nothing of
// the host's may be found, and nothing of the runtime's run.
//
// Seen to find the host's file through /link with RESOLVE_IN_ROOT left out; it
// is not run even then, since the container has its own root by the execve.
func TestAttackPath(t *testing.T) {
	s := ours(t)
	mark := filepath.Join(t.TempDir(), "only-here")
	if err := os.WriteFile(mark, []byte("#!/bin/sh\necho loot\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	host := filepath.Dir(mark)
	for _, p := range []string{
		host, "../../../../../../../.." + host, "/proc/self/cwd", "/proc/self/root" + host, "/proc/self/fd/3", "", ":", ".", "..",
		"/bin/../../.." + host, "/link", strings.Repeat("/x:", 2000), "/dev/fd/4",
	} {
		b := bundle(t, func(c *specs.Spec) { c.Process.Env = []string{"PATH=" + p} }, "only-here")
		if err := os.Symlink(host, b+"/rootfs/link"); err != nil {
			t.Fatal(err)
		}
		r := s.runWith(t, func(c *exec.Cmd) { c.Dir = host }, "run", "--bundle", b, s.id(t))
		if r.status == 0 || strings.Contains(r.out, "loot") || !strings.Contains(r.err, "executable file not found") {
			t.Errorf("PATH=%.40s: %s", p, r)
		}
	}
	// A relative program is the container's, below its working directory.
	r := s.runWith(t, func(c *exec.Cmd) { c.Dir = host }, "run", "--bundle", bundle(t, nil, "./only-here"), s.id(t))
	if r.status == 0 || strings.Contains(r.out, "loot") || !strings.Contains(r.err, "no such file") {
		t.Error(r)
	}
}

// TestAttackTracing attaches to what is exec'ed in the container, from a process
// of it without CAP_SYS_PTRACE but of the same user and capabilities, before the
// seccomp filter is loaded.
//
// Seen to succeed with PR_SET_DUMPABLE left out.
func TestAttackTracing(t *testing.T) {
	s := ours(t)
	s.binaryUnharmed(t)
	id := s.id(t)
	b := bundle(t, func(c *specs.Spec) {
		attacker(t, c, "trace")
		c.Process.Capabilities = new(specs.LinuxCapabilities)
		c.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"swapon"}, Action: specs.ActErrno}}}
	})
	s.must(t, "run", "-d", "--bundle", b, id)
	eventually(t, "attacker is ready", func() bool { _, err := os.Stat(b + "/rootfs/tmp/ready"); return err == nil })
	for i := range 60 {
		if r := s.run(t, "exec", id, "/bin/busybox", "true"); r.status != 0 {
			t.Fatalf("exec #%d: %s", i, r)
		}
	}
	if err := os.WriteFile(b+"/rootfs/tmp/stop", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "attacker has ended", func() bool { return s.state(t, id).Status == specs.StateStopped })
	if loot, err := os.ReadFile(b + "/rootfs/tmp/loot"); err != nil || len(loot) > 0 {
		t.Errorf("the attacker got %v\n%s", err, loot)
	}
}

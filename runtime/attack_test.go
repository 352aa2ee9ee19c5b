package runtime

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The tests in attack_*_test.go are attacks: each does what somebody inside of a
// container, or who made its image, would do to get out, and fails if that is
// worth anything. A comment beginning with "Seen to succeed" says against what the
// attack has been shown to work, so that its failing means something.

// attackEnv names the attack that this binary, in a container, is to do.
const attackEnv = "BERTH_RUNTIME_ATTACK"

// attackers are what runs inside. What they print is their loot, a line each.
func attackers() map[string]func() error {
	return map[string]func() error{
		"watch": attackWatch,
		"keys":  attackKeys,
		"mknod": attackMknod,
		"trace": attackTrace,

		"notifier": notifier, // no attack, but this binary in a container too
	}
}

// attack does what is asked of this binary in a container.
func attack(name string) int {
	f, ok := attackers()[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such attack:", name)
		return 1
	}
	if err := f(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// attacker makes a container's command an attack of this binary's, which it
// binds into the container.
func attacker(t *testing.T, c *specs.Spec, name string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Section(".interp") != nil {
		t.Skip("needs a static test binary: CGO_ENABLED=0, as make has it")
	}
	c.Mounts = append(c.Mounts, specs.Mount{Destination: "/bin/attack", Type: "bind", Source: self, Options: []string{"bind", "ro"}})
	c.Process.Args = []string{"/bin/attack"}
	c.Process.Env = append(c.Process.Env, attackEnv+"="+name)
	c.Root.Readonly = false
}

// allCaps gives a process every capability, as engines do for the privileged.
func allCaps(p *specs.Process) {
	var all []string
	for i, name := range capabilityNames {
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(i), 0, 0, 0); err == nil && in == 1 {
			all = append(all, name)
		}
	}
	p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	p.NoNewPrivileges = false
}

// giveTree makes a tree somebody else's.
func giveTree(t *testing.T, dir string, id int) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, id, id)
	}); err != nil {
		t.Fatal(err)
	}
}

// digest is what a file's content is known by.
func digest(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// binaryUnharmed makes sure that nothing done in the test has changed the runtime.
func (s *subject) binaryUnharmed(t *testing.T) {
	t.Helper()
	before := digest(t, s.argv[0])
	t.Cleanup(func() {
		if digest(t, s.argv[0]) != before {
			t.Errorf("%s has been overwritten", s.argv[0])
		}
	})
}

// attackWatch looks at every process that comes up in the container's pid
// namespace for what is not the container's: the runtime's binary, the host's
// root directory, its descriptors. It needs CAP_SYS_PTRACE.
func attackWatch() error { return watch(look) }

// watch calls look, as fast as it can, with the pids of the processes that come
// up, as long as it returns true, until there is a file "stop" in /tmp.
func watch(look func(pid int, loot map[string]int) bool) error {
	loot := make(map[string]int)
	next, seen := os.Getpid()+1, 0
	os.WriteFile("/tmp/ready", nil, 0o644) //nolint:errcheck // the test waits for it in vain, then
	for n := 0; ; n++ {
		if n%4096 == 0 {
			if _, err := os.Lstat("/tmp/stop"); err == nil {
				break
			}
			// Threads of our own take numbers too: find where the next are.
			if b, err := os.ReadFile("/proc/sys/kernel/ns_last_pid"); err == nil {
				if last, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
					next = last + 1
				}
			}
		}
		for pid := next; pid < next+3; pid++ {
			if !look(pid, loot) {
				continue
			}
			seen++
			// Stay with it until it has become something of the container's.
			for i := 0; i < 20000 && look(pid, loot); i++ {
			}
			next = pid + 1
			break
		}
	}
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(loot)) {
		fmt.Fprintf(&out, "%s (%d times)\n", name, loot[name])
	}
	return errors.Join(os.WriteFile("/tmp/loot", out.Bytes(), 0o644), os.WriteFile("/tmp/seen", []byte(strconv.Itoa(seen)), 0o644))
}

// attackTrace wants to stop a process before its program runs, which would give
// its memory, its registers, and system calls that no filter has seen.
func attackTrace() error {
	goruntime.LockOSThread() // the tracer is a thread
	return watch(func(pid int, loot map[string]int) bool {
		_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
		if errno != 0 {
			return errno != unix.ESRCH
		}
		// Stopped, it can be asked how far it is: its filter comes last.
		unix.PtraceInterrupt(pid) //nolint:errcheck // it may have ended
		var ws unix.WaitStatus
		unix.Wait4(pid, &ws, unix.WALL, nil) //nolint:errcheck // as above
		status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		exe, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
		if !bytes.Contains(status, []byte("Seccomp:\t2")) && len(status) > 0 {
			loot["traced without a filter: "+exe]++
		}
		unix.PtraceDetach(pid) //nolint:errcheck // as above
		return false
	})
}

// look notes what can be had of a process, and says whether there is one.
func look(pid int, loot map[string]int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	exe, err := os.Readlink(dir + "/exe")
	if errors.Is(err, unix.ENOENT) {
		if _, err := os.Lstat(dir); err != nil {
			return false
		}
	}
	if strings.Contains(exe, "berth-runtime") {
		loot["exe "+filepath.Base(exe)]++
	}
	// The host's root has what no container here has.
	if fd, err := unix.Open(dir+"/root"+os.Getenv("HOST_MARK"), unix.O_PATH, 0); err == nil {
		unix.Close(fd)
		loot["root of the host"]++
	}
	if fd, err := unix.Open(dir+"/cwd/"+os.Getenv("CWD_MARK"), unix.O_PATH, 0); err == nil {
		unix.Close(fd)
		loot["working directory of the host"]++
	}
	for fd := 3; fd < 12; fd++ {
		link, err := os.Readlink(dir + "/fd/" + strconv.Itoa(fd))
		if err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(link, "socket:"), strings.HasPrefix(link, "anon_inode:[event"):
		case link == "/", link == "/bin/busybox": // of the container, for the program and its directory
		default:
			loot["descriptor "+link]++
		}
	}
	return true
}

// TestAttackEntering watches, as root with every capability and in no user
// namespace of its own, for the process that an exec makes (CVE-2016-9962,
// CVE-2019-5736): by the time that it can be seen, nothing of it may be of use.
//
// Seen to succeed, in nearly all of the execs, against the clone into the pid
// namespace first and the rest after: the host's root, the runtime's binary, the
// cgroup's directory on the host.
func TestAttackEntering(t *testing.T) {
	for name, user := range map[string]bool{"host users": false, "user namespace": true} {
		t.Run(name, func(t *testing.T) {
			s := ours(t)
			s.binaryUnharmed(t)
			mark := t.TempDir()
			id := s.id(t)
			b := bundle(t, func(c *specs.Spec) {
				attacker(t, c, "watch")
				c.Process.Env = append(c.Process.Env, "HOST_MARK="+mark, "CWD_MARK=attack_test.go")
				allCaps(c.Process)
				if user {
					c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
					c.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
					c.Linux.GIDMappings = c.Linux.UIDMappings
				}
			})
			if user {
				giveTree(t, b+"/rootfs", 100000)
			}
			s.must(t, "run", "-d", "--bundle", b, id)
			eventually(t, "attacker is ready", func() bool { _, err := os.Stat(b + "/rootfs/tmp/ready"); return err == nil })
			for i := range 100 {
				if r := s.run(t, "exec", id, "/bin/busybox", "true"); r.status != 0 {
					t.Fatalf("exec #%d: %s", i, r)
				}
			}
			if err := os.WriteFile(b+"/rootfs/tmp/stop", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			eventually(t, "attacker has ended", func() bool { return s.state(t, id).Status == specs.StateStopped })
			if seen, err := os.ReadFile(b + "/rootfs/tmp/seen"); err != nil || string(seen) == "0" {
				t.Errorf("the attacker has seen %s processes: %v", seen, err)
			}
			loot, err := os.ReadFile(b + "/rootfs/tmp/loot")
			if err != nil || len(loot) > 0 {
				t.Errorf("the attacker got %v\n%s", err, loot)
			}
		})
	}
}

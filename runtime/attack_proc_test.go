package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bindTo is a volume.
func bindTo(dst, src string) specs.Mount {
	return specs.Mount{Destination: dst, Type: "bind", Source: src, Options: []string{"rbind", "rw"}}
}

// refused runs a container that must not come to be, for the reason given.
func (s *subject) refused(t *testing.T, b, why string) {
	t.Helper()
	before := holdings()
	if r := s.run(t, "run", "--bundle", b, s.id(t)); r.status != 1 || !strings.Contains(r.err, why) {
		t.Errorf("got %swant %q", r, why)
	}
	after := holdings()
	for what := range after {
		if after[what] > before[what] {
			t.Errorf("left: %v, before %v", after, before)
		}
	}
}

// TestAttackProcIsAVolume declares a volume on /proc, so that what the runtime
// writes about the process lands in files of the image's (CVE-2019-16884,
// CVE-2023-27561).
//
// Seen to succeed before checkProc: the container ran with the volume as /proc.
func TestAttackProcIsAVolume(t *testing.T) {
	s := ours(t)
	fake := t.TempDir()
	for _, d := range []string{"self/attr", "sys/net/ipv4", "1"} {
		if err := os.MkdirAll(filepath.Join(fake, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(fake, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]specs.Mount{
		"on proc":      bindTo("/proc", fake),
		"tmpfs":        {Destination: "/proc", Type: "tmpfs", Source: "tmpfs"},
		"dotted":       bindTo("/x/../proc/.", fake),
		"self":         bindTo("/proc/self", fake),
		"attr":         bindTo("/proc/self/attr/exec", file),
		"thread":       bindTo("/proc/thread-self/attr/exec", file),
		"init":         bindTo("/proc/1/attr/exec", file),
		"sys":          bindTo("/proc/sys", fake),
		"sysctl":       bindTo("/proc/sys/net/ipv4/ip_forward", file),
		"sysrq":        bindTo("/proc/sys/kernel/core_pattern", file),
		"tmpfs in sys": {Destination: "/proc/sys", Type: "tmpfs", Source: "tmpfs"},
	} {
		t.Run(name, func(t *testing.T) {
			why := "inside of /proc"
			if filepath.Clean(m.Destination) == "/proc" {
				why = "only a proc file system"
			}
			s.refused(t, bundle(t, func(c *specs.Spec) { c.Mounts = append(c.Mounts, m) }, "true"), why)
		})
	}
	t.Run("statistics", func(t *testing.T) { // lxcfs has them so
		os.WriteFile(file, []byte("0.00 0.00\n"), 0o644)
		b := bundle(t, func(c *specs.Spec) { c.Mounts = append(c.Mounts, bindTo("/proc/uptime", file)) }, "cat", "/proc/uptime")
		s.run(t, "run", "--bundle", b, s.id(t)).want(t, "0.00 0.00")
	})
	t.Run("proc", func(t *testing.T) {
		b := bundle(t, func(c *specs.Spec) { c.Mounts[0] = bindTo("/proc", "/proc") }, "sh", "-c", "wc -c < /proc/timer_list")
		s.run(t, "run", "--bundle", b, s.id(t)).want(t, "0")
	})
}

// TestAttackProcIsASymlink has a link for /proc in its image, into a directory
// that somebody else can change between the mount and the masks
// (CVE-2019-19921), or for a directory above.
//
// Seen to succeed before rootfs.ordinary: proc was mounted where the link led.
func TestAttackProcIsASymlink(t *testing.T) {
	s := ours(t)
	for name, dst := range map[string]string{"proc": "/proc", "sys": "/sys", "above": "/up/proc"} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, func(c *specs.Spec) {
				if name == "above" {
					c.Mounts[0].Destination = dst
				}
			}, "true")
			link := b + "/rootfs" + dst
			if name == "above" {
				link = b + "/rootfs/up"
			}
			os.Remove(link)
			os.Mkdir(b+"/rootfs/elsewhere", 0o755)
			if err := os.Symlink("/elsewhere", link); err != nil {
				t.Fatal(err)
			}
			s.refused(t, b, "symbolic link")
		})
	}
}

// TestAttackLinkIntoProc has a volume whose mount point in another volume is a
// link into /proc: the volume would be mounted over a file that the runtime
// writes (CVE-2025-52881).
//
// Seen to succeed before mount.target looked at where a link leads.
func TestAttackLinkIntoProc(t *testing.T) {
	s := ours(t)
	for _, target := range []string{"/proc/self/attr/exec", "../../proc/sys/net/ipv4/ip_forward", "/proc/sys", "/proc/thread-self", "/proc", "/proc/self/fd/0"} {
		shared, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, shared+"/x"); err != nil {
			t.Fatal(err)
		}
		src := file
		if fi, err := os.Stat(filepath.Join("/", strings.TrimLeft(target, "./"))); err == nil && fi.IsDir() {
			src = t.TempDir()
		}
		b := bundle(t, func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, bindTo("/shared", shared), bindTo("/shared/x", src))
			c.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
			c.Root.Readonly = false
		}, "true")
		if r := s.run(t, "run", "--bundle", b, s.id(t)); r.status != 1 {
			t.Errorf("%s: %s", target, r)
		}
		if got, _ := os.ReadFile(file); len(got) > 0 {
			t.Errorf("%s: %q was written to the file", target, got)
		}
	}
}

// TestAttackMovedProc moves the image's /proc away, and back, while containers
// are made of it: what is masked must be masked in the proc that is mounted,
// wherever it is (CVE-2023-27561).
//
// Seen to succeed with rootfs.proc left out: "timer_list is readable".
func TestAttackMovedProc(t *testing.T) {
	s := ours(t)
	b := bundle(t, func(c *specs.Spec) { c.Linux.CgroupsPath = "" },
		"sh", "-c", "for p in /proc /other; do test -e $p/self/stat && test -n \"$(head -n1 $p/timer_list)\" && echo timer_list is readable; done; true")
	for _, f := range []string{"/rootfs/other", "/rootfs/mnt"} {
		os.MkdirAll(b+f, 0o755)
	}
	// What the masks would find in its place.
	os.WriteFile(b+"/rootfs/other/timer_list", nil, 0o644)
	for _, p := range DefaultSpec().Linux.ReadonlyPaths {
		os.MkdirAll(b+"/rootfs/other/"+strings.TrimPrefix(p, "/proc/"), 0o755)
	}
	stop := exchange(t, b+"/rootfs/proc", b+"/rootfs/other")
	defer stop()
	ran := 0
	for range 50 {
		r := s.run(t, "run", "--bundle", b, "moved")
		if strings.Contains(r.out, "readable") {
			t.Fatalf("got %s", r)
		}
		if r.status == 0 {
			ran++
		}
	}
	if ran == 0 {
		t.Error("no container ran: nothing was attacked")
	}
}

// exchange swaps two paths as fast as it can until it is stopped.
func exchange(t *testing.T, a, b string) (stop func()) {
	t.Helper()
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		t.Fatal(err)
	}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	}()
	return func() { close(end); <-done }
}

// TestAttackMaskedByAFalseNull brings a /dev/null that is something else, so
// that the masks show it, or make the kernel's own file writable under another
// name (CVE-2025-31133).
//
// Seen to succeed against a maskPath that opened the container's /dev/null.
func TestAttackMaskedByAFalseNull(t *testing.T) {
	s := ours(t)
	for name, make := range map[string]func(dev string) error{
		"link to a setting": func(dev string) error { return os.Symlink("/proc/sys/kernel/core_pattern", dev+"/null") },
		"file":              func(dev string) error { return os.WriteFile(dev+"/null", []byte("loot"), 0o666) },
		"another device":    func(dev string) error { return unix.Mknod(dev+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, func(c *specs.Spec) {
				var kept []specs.Mount
				for _, m := range c.Mounts {
					if !strings.HasPrefix(m.Destination, "/dev") {
						kept = append(kept, m)
					}
				}
				c.Mounts = kept
				c.Root.Readonly = false
				c.Linux.MaskedPaths = []string{"/proc/timer_list"}
			}, "stat", "-c", "%F %t:%T", "/proc/timer_list")
			if err := make(b + "/rootfs/dev"); err != nil {
				t.Fatal(err)
			}
			s.run(t, "run", "--bundle", b, s.id(t)).want(t, "character special file 1:3")
		})
	}
}

// TestAttackConsole brings a /dev/console that is a link, so that the terminal
// is bound over, or makes writable, something else (CVE-2025-52565).
//
// Seen to succeed with rootfs.touch in the place of rootfs.ordinary.
func TestAttackConsole(t *testing.T) {
	s := ours(t)
	for _, target := range []string{"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/etc/made", "../tmp/made"} {
		b := bundle(t, func(c *specs.Spec) {
			var kept []specs.Mount
			for _, m := range c.Mounts {
				if m.Destination != "/dev" {
					kept = append(kept, m)
				}
			}
			c.Mounts = kept
			c.Root.Readonly = false
			c.Process.Terminal = true
		}, "true")
		os.MkdirAll(b+"/rootfs/dev/pts", 0o755)
		if err := os.Symlink(target, b+"/rootfs/dev/console"); err != nil {
			t.Fatal(err)
		}
		s.refused(t, b, "symbolic link")
		for _, made := range []string{"/etc/made", "/tmp/made"} {
			if _, err := os.Lstat(b + "/rootfs" + made); err == nil {
				t.Errorf("%s: made %s", target, made)
			}
		}
	}
}

// TestAttackSysctl has what is written as a setting of the kernel land in the
// image's files, or in settings that are not the container's (CVE-2025-52881).
//
// Seen to succeed ("upwards") with the name not cleaned and plain openat flags.
func TestAttackSysctl(t *testing.T) {
	s := ours(t)
	t.Run("no proc", func(t *testing.T) {
		b := bundle(t, func(c *specs.Spec) {
			c.Mounts = c.Mounts[1:]
			c.Linux.MaskedPaths, c.Linux.ReadonlyPaths = nil, nil
			c.Linux.Sysctl = map[string]string{"kernel.msgmax": "4096"}
		}, "true")
		os.MkdirAll(b+"/rootfs/proc/sys/kernel", 0o755)
		file := b + "/rootfs/proc/sys/kernel/msgmax"
		os.WriteFile(file, nil, 0o666)
		s.run(t, "run", "--bundle", b, s.id(t)) // the host's /proc is taken, which may be read-only
		if got, _ := os.ReadFile(file); len(got) > 0 {
			t.Errorf("%q was written to the image", got)
		}
	})
	// With the value that it has: the attack is that it can be written at all.
	value, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{
		"upwards": "net/../kernel/core_pattern", "link": "net/ipv4/../../../self/comm", "not its own": "kernel.core_pattern", "empty": "", "net alone": "net.",
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, func(c *specs.Spec) { c.Linux.Sysctl = map[string]string{key: strings.TrimSpace(string(value))} }, "true")
			if r := s.run(t, "run", "--bundle", b, s.id(t)); r.status != 1 {
				t.Error(r)
			}
		})
	}
}

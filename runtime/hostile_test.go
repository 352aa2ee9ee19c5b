package runtime

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A root file system is the image's: every path in it may be a trap.

func TestHostileMountTargets(t *testing.T) {
	s := ours(t)
	outside := t.TempDir()
	for name, c := range map[string]struct {
		link, target string // a symlink in the root
		mount        specs.Mount
	}{
		"absolute":    {"mnt", outside, specs.Mount{Destination: "/mnt/dir", Type: "tmpfs", Source: "tmpfs"}},
		"upwards":     {"mnt", "../../../../../../../.." + outside, specs.Mount{Destination: "/mnt/dir", Type: "tmpfs", Source: "tmpfs"}},
		"itself":      {"mnt", outside, specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs"}},
		"magic":       {"mnt", "/proc/self/root/" + outside, specs.Mount{Destination: "/mnt/dir", Type: "tmpfs", Source: "tmpfs"}},
		"file":        {"mnt", outside + "/file", specs.Mount{Destination: "/mnt", Type: "bind", Source: "/dev/null", Options: []string{"bind"}}},
		"device":      {"dev", outside, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}},
		"destination": {"unused", "/", specs.Mount{Destination: "/../../../.." + outside, Type: "tmpfs", Source: "tmpfs"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, func(c2 *specs.Spec) {
				c2.Root.Readonly = false
				if name == "device" {
					c2.Mounts = c2.Mounts[:1] // no tmpfs on /dev
				}
				c2.Mounts = append(c2.Mounts, c.mount)
			}, "true")
			os.RemoveAll(filepath.Join(b, "rootfs", c.link))
			if err := os.Symlink(c.target, filepath.Join(b, "rootfs", c.link)); err != nil {
				t.Fatal(err)
			}
			s.run(t, "run", "--bundle", b, s.id(t)) // may fail; must not escape
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("made outside of the root: %v", left)
			}
		})
	}
}

func TestHostileProc(t *testing.T) {
	s := ours(t)
	t.Run("false cap_last_cap", func(t *testing.T) {
		b := bundle(t, func(c *specs.Spec) {
			c.Mounts = nil
			c.Linux.MaskedPaths = nil
			c.Linux.ReadonlyPaths = nil
			c.Root.Readonly = false
		},
			"sh", "-c", "mount -t proc proc /mnt 2>&1 || echo no mounts")
		os.MkdirAll(b+"/rootfs/proc/sys/kernel", 0o755)
		os.WriteFile(b+"/rootfs/proc/sys/kernel/cap_last_cap", []byte("0\n"), 0o644)
		r := s.run(t, "run", "--bundle", b, s.id(t))
		r.wantAll(t, "no mounts")
	})
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestNothingIsLeftOfFailures(t *testing.T) {
	s := ours(t)
	for name, edit := range map[string]func(*specs.Spec){
		"mount type":   func(c *specs.Spec) { c.Mounts[1].Type = "nofs" },
		"mount option": func(c *specs.Spec) { c.Mounts[1].Options = append(c.Mounts[1].Options, "nonsense=1") },
		"mount source": func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: "/no/such", Options: []string{"bind"}})
		},
		"copy-up of a bind": func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: "/", Options: []string{"bind", "tmpcopyup"}})
		},
		"copy-up of too much": func(c *specs.Spec) {
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/bin", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=8k", "tmpcopyup"}})
		},
		"proc option": func(c *specs.Spec) { c.Mounts[0].Options = []string{"nonsense=1"} },
		"rootfs":      func(c *specs.Spec) { c.Root.Path = "nothing" },
		"namespace":   func(c *specs.Spec) { c.Linux.Namespaces[0].Path = "/proc/nothing" },
		"wrong namespace": func(c *specs.Spec) {
			c.Linux.Namespaces[0].Path = "/proc/self/ns/mnt"
		},
		"sysctl":      func(c *specs.Spec) { c.Linux.Sysctl = map[string]string{"kernel.panic": "1"} },
		"sysctl path": func(c *specs.Spec) { c.Linux.Sysctl = map[string]string{"net/../kernel/panic": "1"} },
		"device":      func(c *specs.Spec) { c.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "?"}} },
		"seccomp":     func(c *specs.Spec) { c.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: "?"} },
		"rlimit":      func(c *specs.Spec) { c.Process.Rlimits[0].Soft = c.Process.Rlimits[0].Hard + 1 },
		"cgroup":      func(c *specs.Spec) { c.Linux.CgroupsPath = "/tests" },
		"mapping":     func(c *specs.Spec) { c.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} },
		"command":     func(c *specs.Spec) { c.Process.Args = []string{"nothing"} },
		"no command":  func(c *specs.Spec) { c.Process.Args = nil },
		"user":        func(c *specs.Spec) { c.Process.User.UID = ^uint32(0) },
		"propagation": func(c *specs.Spec) { c.Linux.RootfsPropagation = "wild" },
		"not supported": func(c *specs.Spec) {
			c.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedISO} // no kernel has it
		},
	} {
		for _, verb := range []string{"run", "create"} {
			t.Run(name+"/"+verb, func(t *testing.T) {
				before := holdings()
				id := s.id(t)
				r := s.run(t, verb, "--bundle", bundle(t, edit, "true"), id)
				if verb == "create" && r.status == 0 {
					// What only the process itself can find out.
					r = s.run(t, "start", id)
					s.run(t, "delete", "--force", id)
				}
				if r.status == 0 || !strings.HasPrefix(r.err, "berth-runtime: ") || strings.Contains(r.err, "goroutine") {
					t.Errorf("got %s", r)
				}
				if left, _ := os.ReadDir(s.root); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
				if after := holdings(); after["cgroups"] > before["cgroups"] || after["mounts"] > before["mounts"] || after["children"] > before["children"] {
					t.Errorf("left: %v, before %v", after, before)
				}
			})
		}
	}
}

// A tree that would use up our descriptors or lead outside is no way out.
func TestCopyUpOfHostileTree(t *testing.T) {
	s := ours(t)
	edit := func(c *specs.Spec) {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/odd/in", Source: "tmpfs", Type: "tmpfs", Options: []string{"tmpcopyup"}})
	}
	b := bundle(t, edit, "ls", "/odd/in")
	if err := os.MkdirAll(b+"/rootfs/odd/in"+strings.Repeat("/d", 300), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := s.run(t, "run", "--bundle", b, s.id(t)); r.status == 0 || !strings.Contains(r.err, "too many levels") {
		t.Errorf("a deep tree: %s", r)
	}
	b = bundle(t, edit, "ls", "/odd/in")
	if err := errors.Join(os.Mkdir(b+"/rootfs/tmp/in", 0o755), os.WriteFile(b+"/rootfs/tmp/in/ours", nil, 0o600),
		os.Symlink("/../../../../../../../../../../tmp", b+"/rootfs/odd")); err != nil {
		t.Fatal(err)
	}
	s.run(t, "run", "--bundle", b, s.id(t)).want(t, "ours")
}

func TestInvalidIDs(t *testing.T) {
	s := ours(t)
	b := bundle(t, nil, "true")
	for _, id := range []string{"", ".", "..", "a/b", "../x", "a b", "ä", strings.Repeat("x", 2000)} {
		for _, verb := range []string{"run", "state", "delete", "start"} {
			args := []string{verb, id}
			if verb == "run" {
				args = []string{verb, "--bundle", b, id}
			}
			if r := s.run(t, args...); r.status != 1 {
				t.Errorf("%s %q: %s", verb, id, r)
			}
		}
	}
}

// TestRootfsRace moves a directory away under the resolver: what it opens has
// to be inside of the root at every moment.
func TestRootfsRace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	os.MkdirAll(root+"/a/b/c", 0o755)
	os.Mkdir(dir+"/out", 0o755)
	os.Symlink("../../..", root+"/swap")
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r := rootfs{fd: fd}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			unix.Renameat2(fd, "a", fd, "swap", unix.RENAME_EXCHANGE)
			os.Rename(root+"/a/b", dir+"/out/b")
			os.Rename(dir+"/out/b", root+"/a/b")
		}
	}()
	for range 3000 {
		got, err := r.mkdirAll("/a/b/c/../../../../../x", 0o755)
		if err != nil {
			continue
		}
		path, _ := os.Readlink(fdPath(got))
		unix.Close(got)
		if !strings.HasPrefix(path, root) {
			t.Fatalf("opened %s", path)
		}
	}
	close(stop)
	<-done
	if _, err := os.Stat(dir + "/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made outside: %v", err)
	}
}

func TestStartOfAKilledCreate(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	s.must(t, "create", "--bundle", bundle(t, nil, "true"), id)
	unix.Kill(s.state(t, id).Pid, unix.SIGKILL)
	eventually(t, "stopped", func() bool { return s.state(t, id).Status == specs.StateStopped })
	if r := s.run(t, "start", id); r.status != 1 {
		t.Error(r)
	}
	s.must(t, "delete", id)
}

// TestStartIsKilled kills a start that has connected and not said go: the next
// one must find the init waiting.
func TestStartIsKilled(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	s.must(t, "create", "--bundle", bundle(t, nil, "sleep", "60"), id)
	for range 3 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(s.root, id, startFile)}); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	s.must(t, "start", id)
	if st := s.state(t, id); st.Status != specs.StateRunning {
		t.Errorf("%+v", st)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := ours(t)
	b := bundle(t, func(c *specs.Spec) { c.Linux.CgroupsPath = "" }, "sh", "-c", "exit 3")
	const n = 100
	results := make(chan error, n)
	limit := make(chan struct{}, 16)
	for i := range n {
		go func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			argv := append(append([]string{}, s.argv[1:]...), "run", "--bundle", b, "many-"+itoa(i))
			out, err := exec.Command(s.argv[0], argv...).CombinedOutput()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == 3 && len(out) == 0 {
				err = nil
			} else if err == nil {
				err = errors.New("status 0")
			} else {
				err = errors.New(err.Error() + ": " + string(out))
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(s.root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func FuzzLoadSpec(f *testing.F) {
	b, err := json.Marshal(DefaultSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"process":{"args":["x"],"cwd":"/"},"root":{"path":"r"},"mounts":[{"destination":"a","options":["rro","rbind"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := LoadSpec(b)
		if err != nil {
			return
		}
		// What is accepted can be planned without a surprise.
		ns := namespacesOf(s)
		list, err := planMounts(s, ns, "/bundle")
		if err == nil && len(list) != len(s.Mounts) {
			t.Fatalf("%d mounts planned of %d", len(list), len(s.Mounts))
		}
		if s.Linux.Resources != nil {
			controls(s.Linux.Resources)
		}
		capabilitiesOf(s.Process)
		compileSeccomp(s.Linux.Seccomp) //nolint:errcheck // it may refuse
	})
}

// The state is the store's, but a disk that was full has been known to bend it.
func FuzzState(f *testing.F) {
	good, err := json.Marshal(record{Version: "1.2.0", ID: "c", Bundle: "/b", Rootfs: "/b/rootfs", Pid: 1 << 30, Cgroup: "/sys/fs/cgroup/c"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, []byte(`{"id":"c","pid":-1}`), []byte(`{"id":"other","pid":1}`), good[:len(good)/2], {}} {
		f.Add(seed)
	}
	root := f.TempDir()
	if err := os.Mkdir(filepath.Join(root, "c"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(root, "c", stateFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(root, "c")
		list, listErr := List(root)
		if listErr != nil || (len(list) == 1) != (err == nil) {
			t.Fatalf("opened: %v; listed: %v %v", err, list, listErr)
		}
		if err != nil {
			return
		}
		if st := c.State(); st.ID != "c" || st.Status == specs.StateStopped != (st.Pid == 0) {
			t.Fatalf("state %+v of %s", st, b)
		}
	})
}

func FuzzMountOptions(f *testing.F) {
	f.Add("bind,ro,rshared,rnosuid,size=1,relatime")
	f.Fuzz(func(t *testing.T, opts string) {
		m := &specs.Mount{Options: strings.Split(opts, ",")}
		o := parseMountOptions(m)
		for _, a := range []attrs{o.attr, o.rattr} {
			if a.set&a.clr&^unix.MOUNT_ATTR__ATIME != 0 {
				t.Fatalf("%q sets and clears %#x", opts, a.set&a.clr)
			}
			if a.set&unix.MOUNT_ATTR__ATIME != 0 && a.clr&unix.MOUNT_ATTR__ATIME != unix.MOUNT_ATTR__ATIME {
				t.Fatalf("%q sets an atime mode without clearing the others, which the kernel refuses", opts)
			}
		}
		if len(o.data) > len(m.Options) {
			t.Fatalf("%q: %d options for the file system", opts, len(o.data))
		}
	})
}

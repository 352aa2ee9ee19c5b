package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setNamespace gives the configuration a namespace: joined where there is a
// path, none where it is "-".
func setNamespace(c *specs.Spec, kind specs.LinuxNamespaceType, path string) {
	list := c.Linux.Namespaces[:0]
	for _, n := range c.Linux.Namespaces {
		if n.Type != kind {
			list = append(list, n)
		}
	}
	if path != "-" {
		list = append(list, specs.LinuxNamespace{Type: kind, Path: path})
	}
	c.Linux.Namespaces = list
}

func TestTimeNamespace(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "a time namespace with offsets", "runc 1.2", "crun 1.21")
		id := s.id(t)
		const days = 10000
		b := bundle(t, func(c *specs.Spec) {
			setNamespace(c, specs.TimeNamespace, "")
			c.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: days * 86400}, "monotonic": {Secs: 7, Nanosecs: 9}}
		}, "sleep", "60")
		s.must(t, "run", "-d", "--bundle", b, id)
		pid := s.state(t, id).Pid
		offsets, _ := os.ReadFile(fmt.Sprintf("/proc/%d/timens_offsets", pid))
		if f := strings.Fields(string(offsets)); strings.Join(f, " ") != fmt.Sprintf("monotonic 7 9 boottime %d 0", days*86400) {
			t.Errorf("offsets %q", offsets)
		}
		r := s.run(t, "exec", id, "sh", "-c", "cut -d. -f1 /proc/uptime")
		var up int
		fmt.Sscan(r.out, &up)
		if up < days*86400 {
			t.Errorf("uptime in an exec: %s", r)
		}
		s.differs(t, "a joined one breaks it", "crun")
		// Its neighbour.
		want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", pid))
		if err != nil {
			t.Fatal(err)
		}
		b = bundle(t, func(c *specs.Spec) {
			setNamespace(c, specs.TimeNamespace, fmt.Sprintf("/proc/%d/ns/time", pid))
			c.Linux.CgroupsPath += "-2"
		}, "sh", "-c", "readlink /proc/self/ns/time; test $(cut -d. -f1 /proc/uptime) -gt 100000000 && echo ok")
		s.run(t, "run", "--bundle", b, id+"2").want(t, want+"\nok")
	})
}

// A user namespace makes no difference to the offsets, new or joined.
func TestTimeAndUserNamespace(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	var pid int
	for i, path := range []string{"", "/proc/%d/ns/user"} {
		b := bundle(t, func(c *specs.Spec) {
			if path != "" {
				path = fmt.Sprintf(path, pid)
			}
			setNamespace(c, specs.UserNamespace, path)
			setNamespace(c, specs.TimeNamespace, "")
			c.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1e9}}
			c.Linux.UIDMappings, c.Linux.GIDMappings = maps, maps
			c.Linux.CgroupsPath += fmt.Sprint(i)
		}, "sh", "-c", "test $(cut -d. -f1 /proc/uptime) -gt 1000000000 && exec sleep 60")
		ownBy(t, b, 100000)
		s.must(t, "run", "-d", "--bundle", b, fmt.Sprint(id, i))
		t.Cleanup(func() { s.run(t, "delete", "-f", fmt.Sprint(id, i)) })
		pid = s.state(t, fmt.Sprint(id, i)).Pid
		r := s.run(t, "exec", fmt.Sprint(id, i), "sh", "-c", "test $(cut -d. -f1 /proc/uptime) -gt 1000000000 && until grep -q sleep /proc/1/comm; do :; done && cat /proc/1/comm")
		r.want(t, "sleep")
	}
}

// ownBy gives a bundle's root to an id that its path is open to.
func ownBy(t *testing.T, b string, id int) {
	t.Helper()
	if out, err := exec.Command("chown", "-hR", fmt.Sprintf("%d:%d", id, id), b+"/rootfs").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for d := b; len(d) > 1; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
}

// mountsBelow counts the mounts at and below a directory.
func mountsBelow(t *testing.T, pid, dir string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for l := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 4 && strings.HasPrefix(f[4]+"/", dir+"/") {
			n++
		}
	}
	return n
}

// A container without a mount namespace of its own is in a changed root, and
// takes its mounts with it.
func TestNoMountNamespace(t *testing.T) {
	for _, share := range []string{"private", "shared"} {
		t.Run(share, func(t *testing.T) {
			s := ours(t)
			id := s.id(t)
			b := bundle(t, func(c *specs.Spec) { setNamespace(c, specs.MountNamespace, "-") }, "sh", "-c", "echo $(ls /) && exec sleep 60")
			if share == "shared" {
				if err := unix.Mount(b, b, "", unix.MS_BIND, ""); err != nil {
					t.Fatal(err)
				}
				defer unix.Unmount(b, unix.MNT_DETACH)
				if err := unix.Mount("", b, "", unix.MS_SHARED, ""); err != nil {
					t.Fatal(err)
				}
			}
			s.must(t, "run", "-d", "--bundle", b, id)
			own, _ := os.Readlink("/proc/self/ns/mnt")
			got, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", s.state(t, id).Pid))
			if got != own {
				t.Errorf("mount namespace %s, not %s", got, own)
			}
			if n := mountsBelow(t, "self", b+"/rootfs"); n < 7 {
				t.Errorf("%d mounts below the root", n)
			}
			r := s.run(t, "exec", id, "sh", "-c", "ls -d /bin/busybox /proc/1/comm; cat /proc/timer_list; touch /x 2>/dev/null || echo refused")
			r.want(t, "/bin/busybox\n/proc/1/comm\nrefused")
			s.must(t, "delete", "-f", id)
			if n := mountsBelow(t, "self", b+"/rootfs"); n != 0 {
				t.Errorf("%d mounts are left below the root", n)
			}
			// And so does one that fails half way.
			b2 := bundle(t, func(c *specs.Spec) { setNamespace(c, specs.MountNamespace, "-") }, "/nope")
			if r := s.run(t, "run", "--bundle", b2, id); r.status == 0 {
				t.Error(r)
			}
			if n := mountsBelow(t, "self", b2+"/rootfs"); n != 0 {
				t.Errorf("%d mounts are left below the root", n)
			}
		})
	}
}

func TestJoinMountNamespace(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		// Somebody's namespace, with a mount that only it has.
		there := t.TempDir()
		holder := exec.Command("unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs "+there+" && touch "+there+"/seen && echo && exec sleep 60")
		out, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { holder.Process.Kill(); holder.Wait() }()
		out.Read(make([]byte, 1))
		ns := fmt.Sprintf("/proc/%d/ns/mnt", holder.Process.Pid)
		b := bundle(t, func(c *specs.Spec) {
			setNamespace(c, specs.MountNamespace, ns)
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/tmp", Source: there, Type: "bind", Options: []string{"bind"}})
		}, "sh", "-c", "readlink /proc/self/ns/mnt; ls /tmp")
		want, err := os.Readlink(ns)
		if err != nil {
			t.Fatal(err)
		}
		s.run(t, "run", "--bundle", b, id).want(t, want+"\nseen")
		if s.name != "berth" {
			return // their mounts stay
		}
		if n := mountsBelow(t, fmt.Sprint(holder.Process.Pid), b+"/rootfs"); n != 0 {
			t.Errorf("%d mounts are left below the root", n)
		}
	})
}

func TestNoPivot(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		b := bundle(t, func(c *specs.Spec) { c.Root.Readonly = false }, "sh", "-c", "echo $(ls /); sleep 60")
		s.must(t, "create", "--no-pivot", "--bundle", b, id)
		s.must(t, "start", id)
		s.run(t, "exec", id, "sh", "-c", "echo $(ls /); until grep -q sleep /proc/1/comm; do :; done; cat /proc/1/comm; cut -d' ' -f5 /proc/self/mountinfo | grep -c ^/proc$").
			want(t, "bin dev etc proc sys tmp\nsleep\n1")
	})
}

// All the namespaces of another container, in one go.
func TestJoinAll(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	kinds := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
		specs.MountNamespace: "mnt", specs.CgroupNamespace: "cgroup", specs.TimeNamespace: "time", specs.UserNamespace: "user",
	}
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	b := bundle(t, func(c *specs.Spec) {
		setNamespace(c, specs.TimeNamespace, "")
		setNamespace(c, specs.UserNamespace, "")
		c.Linux.UIDMappings, c.Linux.GIDMappings = maps, maps
		c.Root.Readonly = false
	}, "sleep", "60")
	ownBy(t, b, 100000)
	os.Mkdir(b+"/rootfs/second", 0o755)
	if out, err := exec.Command("cp", "-a", b+"/rootfs/bin", b+"/rootfs/second/").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	ownBy(t, b, 100000)
	s.must(t, "run", "-d", "--bundle", b, id)
	pid := s.state(t, id).Pid
	var script, want strings.Builder
	b2 := bundle(t, func(c *specs.Spec) {
		for kind, name := range kinds {
			setNamespace(c, kind, fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		}
		c.Linux.UIDMappings, c.Linux.GIDMappings = maps, maps
		c.Linux.CgroupsPath += "-2"
		c.Root = &specs.Root{Path: "/second"} // as that mount namespace has it
		c.Hostname = ""
		c.Mounts = []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}}
		c.Linux.MaskedPaths, c.Linux.ReadonlyPaths = nil, nil
		for _, name := range kinds {
			fmt.Fprintf(&script, "readlink /proc/self/ns/%s; ", name)
			l, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&want, l)
		}
		c.Process.Args = []string{"sh", "-c", script.String() + "cat /proc/1/comm; id -u; ls -d /second"}
	})
	r := s.run(t, "run", "--bundle", b2, id+"2")
	if got, w := strings.TrimSpace(r.out), want.String()+"sleep\n0"; got != w {
		t.Errorf("got %s want %s", r, w)
	}
}

func TestTimeOffsetsRefused(t *testing.T) {
	for name, config := range map[string]string{
		"no namespace": `{"timeOffsets":{"boottime":{"secs":1}}}`,
		"joined":       `{"timeOffsets":{"boottime":{"secs":1}},"namespaces":[{"type":"time","path":"/proc/1/ns/time"}]}`,
		"clock":        `{"timeOffsets":{"realtime":{"secs":1}},"namespaces":[{"type":"time"}]}`,
	} {
		if _, err := LoadSpec([]byte(`{"root":{"path":"x"},"process":{"args":["x"],"cwd":"/"},"linux":` + config + `}`)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDomainname(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "domainname", "runc 1.2", "crun 1.9")
		s.shell(t, func(c *specs.Spec) { c.Domainname = "some.domain" }, "cat /proc/sys/kernel/domainname").want(t, "some.domain")
	})
}

func TestAnnotations(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		id := s.id(t)
		s.must(t, "run", "-d", "--bundle", bundle(t, func(c *specs.Spec) { c.Annotations = map[string]string{"org.example.a": "b"} }, "sleep", "60"), id)
		if st := s.state(t, id); len(st.Annotations) != 1 || st.Annotations["org.example.a"] != "b" {
			t.Errorf("%+v", st)
		}
	})
}

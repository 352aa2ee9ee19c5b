package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tree makes a directory on a tmpfs of its own that is shared, with another one
// mounted below it: a file in each, a link and a device in the first.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	for _, d := range []string{dir, dir + "/sub"} {
		os.MkdirAll(d, 0o755)
		if err := unix.Mount("tmpfs", d, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("", d, "", unix.MS_SHARED, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d+"/file", []byte("content\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("file", dir+"/link")
	os.Mkdir(dir+"/in", 0o755)
	return dir
}

// The script's "attrs" prints a mount's own options, "prop" its propagation.
const mountScript = `attrs() { while read a b c d mnt opts rest; do if test $mnt = $1; then echo $opts; fi; done < /proc/self/mountinfo; }
prop() { while read a b c d mnt opts rest; do test $mnt = $1 && echo "[${rest%% - *}]"; done < /proc/self/mountinfo | sed 's/:[0-9]*//g; s/^\[- .*/[]/'; }
`

func TestMountAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		options      []string
		script, want string
		since        []string
	}{
		"ro of the top":  {[]string{"rbind", "ro"}, "attrs /mnt; attrs /mnt/sub", "ro,relatime\nrw,relatime", nil},
		"ro of all":      {[]string{"rbind", "rro"}, "attrs /mnt; attrs /mnt/sub", "ro,relatime\nro,relatime", nil},
		"ro but the top": {[]string{"rbind", "rw", "rro"}, "attrs /mnt/sub; touch /mnt/sub/x 2>/dev/null || echo refused", "ro,relatime\nrefused", nil},
		"not recursive":  {[]string{"bind"}, "ls /mnt/sub; attrs /mnt/sub", "", nil},
		"all": {[]string{"rbind", "rnosuid", "rnodev", "rnoexec", "rnodiratime", "rnoatime"},
			"attrs /mnt/sub", "rw,nosuid,nodev,noexec,noatime,nodiratime", []string{"crun"}},
		"strictatime": {[]string{"rbind", "rnoatime", "strictatime"}, "attrs /mnt/sub", "rw,noatime", []string{"crun"}},
		"nosymfollow": {[]string{"rbind", "nosymfollow"}, "cat /mnt/link 2>/dev/null || echo refused; attrs /mnt", "refused\nrw,relatime,nosymfollow", []string{"runc 1.2", "crun"}},
		"last wins":   {[]string{"rbind", "ro", "rw", "rnoexec", "rexec"}, "attrs /mnt; attrs /mnt/sub", "rw,relatime\nrw,relatime", nil},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.needs(t, strings.Join(c.options, ","), c.since...)
				if name == "last wins" {
					s.differs(t, "the first of two recursive options wins", "crun", "runc")
				}
				dir := tree(t)
				s.shell(t, func(spec *specs.Spec) {
					spec.Root.Readonly = false
					spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/mnt", Source: dir, Type: "bind", Options: c.options})
				}, mountScript+c.script).want(t, c.want)
			})
		})
	}
}

// Options that are nobody's business but mount(2)'s go to no file system.
func TestMountFlags(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "a tmpfs is told loud and silent", "crun")
		s.shell(t, func(c *specs.Spec) {
			c.Root.Readonly = false
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/mnt", Source: "none", Type: "tmpfs",
				Options: []string{"loud", "silent", "sync", "lazytime", "nr_inodes=77"}},
				specs.Mount{Destination: "/mnt", Type: "tmpfs", Options: []string{"remount", "ro", "bind"}})
		}, "grep -o ' /mnt .*' /proc/mounts | grep -o 'ro\\|nr_inodes=77' | sort; touch /mnt/x 2>/dev/null || echo refused").
			want(t, "nr_inodes=77\nro\nrefused")
	})
}

func TestRemountFileSystem(t *testing.T) {
	s := ours(t)
	s.shell(t, func(c *specs.Spec) {
		c.Root.Readonly = false
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/mnt", Source: "none", Type: "tmpfs", Options: []string{"nr_inodes=77"}},
			specs.Mount{Destination: "/mnt", Type: "tmpfs", Options: []string{"remount", "nr_inodes=78", "noexec"}})
	}, "grep -c '^none /mnt tmpfs rw,noexec,.*nr_inodes=78' /proc/mounts").want(t, "1")
	r := s.shell(t, func(c *specs.Spec) {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Options: []string{"remount", "ro"}})
	}, "echo ran")
	if r.status == 0 {
		t.Errorf("remounted what is no mount: %s", r)
	}
}

func TestBindPropagation(t *testing.T) {
	for name, c := range map[string]struct {
		root    string
		options []string
		want    string // of the mount and of the one below
		out     bool   // the container's mounts reach the host
		differs []string
	}{
		"default":        {"", []string{"rbind"}, "[] []", false, []string{"runc"}},
		"root slave":     {"rslave", []string{"rbind"}, "[master] [master]", false, nil},
		"root shared":    {"rshared", []string{"rbind"}, "[shared] [shared]", true, nil},
		"private":        {"rslave", []string{"rbind", "rprivate"}, "[] []", false, nil},
		"slave":          {"rslave", []string{"rbind", "rslave"}, "[master] [master]", false, nil},
		"top private":    {"", []string{"rbind", "private"}, "[] [master]", false, []string{"runc", "crun"}},
		"unbindable":     {"", []string{"rbind", "runbindable"}, "[unbindable] [unbindable]", false, []string{"crun"}},
		"shared":         {"rshared", []string{"rbind", "rshared"}, "[shared] [shared]", true, nil},
		"not recursive":  {"", []string{"bind", "slave"}, "[master]", false, []string{"runc", "crun"}},
		"shared for one": {"", []string{"rbind", "rshared"}, "[shared] [shared]", true, []string{"runc", "crun"}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.differs(t, "its root is a slave of the host's, or private, before all binds", c.differs...)
				dir := tree(t)
				r := s.shell(t, func(spec *specs.Spec) {
					spec.Root.Readonly = false
					spec.Linux.RootfsPropagation = c.root
					spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/mnt", Source: dir, Type: "bind", Options: c.options})
					caps := []string{"CAP_SYS_ADMIN"}
					spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
				}, mountScript+"echo $(prop /mnt; prop /mnt/sub); mount -t tmpfs tmpfs /mnt/in && touch /mnt/in/seen")
				r.want(t, c.want)
				if _, err := os.Stat(dir + "/in/seen"); (err == nil) != c.out {
					t.Errorf("a mount in the container is seen outside: %v, want %v", err == nil, c.out)
				}
			})
		})
	}
}

func TestRootfsPropagation(t *testing.T) {
	for value, want := range map[string]string{
		"": "[] []", "private": "[] []", "rprivate": "[] []", "slave": "[] []", "rslave": "[] []",
		"shared": "[shared] []", "rshared": "[shared] [shared]", "unbindable": "[unbindable] []", "runbindable": "[unbindable] [unbindable]",
	} {
		t.Run("value_"+value, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				if value != "" && value != "private" && value != "rprivate" {
					s.differs(t, "what the root is of the host's mount shows, or is of one kind", "crun", "runc")
				}
				s.shell(t, func(c *specs.Spec) { c.Linux.RootfsPropagation = value }, mountScript+"echo $(prop /; prop /proc)").want(t, want)
			})
		})
	}
	s := ours(t)
	if r := s.shell(t, func(c *specs.Spec) { c.Linux.RootfsPropagation = "rrshared" }, "true"); r.status == 0 {
		t.Error("accepted rrshared")
	}
}

func TestIDMappedMount(t *testing.T) {
	maps := func(host uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: host, Size: 100}}
	}
	for name, c := range map[string]struct {
		mount        specs.Mount
		user         bool
		script, want string
	}{
		"mappings":      {specs.Mount{Options: []string{"rbind", "idmap"}, UIDMappings: maps(1000), GIDMappings: maps(2000)}, false, "stat -c %u:%g /mnt/file /mnt/sub/file; touch /mnt/new 2>/dev/null || echo unmapped", "1000:2000\n0:0\nunmapped"},
		"recursive":     {specs.Mount{Options: []string{"rbind", "ridmap"}, UIDMappings: maps(1000), GIDMappings: maps(2000)}, false, "stat -c %u:%g /mnt/file /mnt/sub/file", "1000:2000\n1000:2000"},
		"no option":     {specs.Mount{Options: []string{"rbind"}, UIDMappings: maps(1000), GIDMappings: maps(2000)}, false, "stat -c %u:%g /mnt/file", "1000:2000"},
		"namespace":     {specs.Mount{Options: []string{"rbind", "idmap"}}, true, "stat -c %u:%g /mnt/file; touch /mnt/new; stat -c %u:%g /mnt/new", "0:0\n0:0"},
		"not idmapped":  {specs.Mount{Options: []string{"rbind"}}, true, "stat -c %u:%g /mnt/file", "65534:65534"},
		"its own in it": {specs.Mount{Options: []string{"rbind", "ridmap"}, UIDMappings: maps(100007), GIDMappings: maps(100008)}, true, "stat -c %u:%g /mnt/file /mnt/sub/file", "7:8\n7:8"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.needs(t, "idmapped mounts", "runc 1.2", "crun 1.9")
				if name == "no option" {
					s.differs(t, "wants the option too", "crun")
				}
				dir := tree(t)
				canIDMap(t, dir)
				b := bundle(t, func(spec *specs.Spec) {
					spec.Root.Readonly = false
					m := c.mount
					m.Destination, m.Source, m.Type = "/mnt", dir, "bind"
					spec.Mounts = append(spec.Mounts, m)
					if c.user {
						setNamespace(spec, specs.UserNamespace, "")
						all := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
						spec.Linux.UIDMappings, spec.Linux.GIDMappings = all, all
					}
				}, "sh", "-c", c.script)
				if c.user {
					ownBy(t, b, 100000)
				}
				s.run(t, "run", "--bundle", b, s.id(t)).want(t, c.want)
				if name == "namespace" {
					var st unix.Stat_t
					if err := unix.Stat(dir+"/new", &st); err != nil || st.Uid != 0 {
						t.Errorf("made by %d outside: %v", st.Uid, err)
					}
				}
			})
		})
	}
}

// canIDMap skips where the kernel cannot map the ids of the file system at dir.
func canIDMap(t *testing.T, dir string) {
	t.Helper()
	one := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1, Size: 1}}
	ns, err := makeUserNS(one, one)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		t.Skipf("this kernel maps no ids of a tmpfs: %v", err)
	}
}

func TestIDMapRefused(t *testing.T) {
	s := ours(t)
	one := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1, Size: 1}}
	for name, c := range map[string]struct {
		mount specs.Mount
		want  string
	}{
		"no mappings": {specs.Mount{Destination: "/mnt", Source: "/tmp", Type: "bind", Options: []string{"bind", "idmap"}}, "idmap needs mappings"},
		"only uids":   {specs.Mount{Destination: "/mnt", Source: "/tmp", Type: "bind", Options: []string{"bind"}, UIDMappings: one}, "given together"},
		"proc":        {specs.Mount{Destination: "/mnt", Source: "/proc", Type: "bind", Options: []string{"bind"}, UIDMappings: one, GIDMappings: one}, "not supported here: needs a file system"},
	} {
		r := s.shell(t, func(spec *specs.Spec) { spec.Root.Readonly = false; spec.Mounts = append(spec.Mounts, c.mount) }, "true")
		if r.status == 0 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %s", name, r)
		}
	}
}

// A user namespace without a cgroup namespace may mount no cgroup2: it gets
// its own cgroup bound.
func TestCgroupMount(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "is run without cgroups here", "crun")
		for name, user := range map[string]bool{"host": false, "user": true} {
			b := bundle(t, func(c *specs.Spec) {
				setNamespace(c, specs.CgroupNamespace, "-")
				c.Linux.CgroupsPath += name
				if user {
					setNamespace(c, specs.UserNamespace, "")
					all := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
					c.Linux.UIDMappings, c.Linux.GIDMappings = all, all
				}
			}, "sh", "-c", "cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup$(grep ^0: /proc/self/cgroup | cut -d: -f3)/cgroup.procs 2>/dev/null | grep -cx 1; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused")
			ownBy(t, b, map[bool]int{false: 0, true: 100000}[user])
			s.run(t, "run", "--bundle", b, s.id(t)+name).want(t, "1\nrefused")
		}
	})
}

// A label needs SELinux: refused in words that an engine can tell from failures.
func TestLabels(t *testing.T) {
	s := ours(t)
	if selinuxEnabled() {
		t.Skip("this kernel has SELinux")
	}
	for name, edit := range map[string]func(*specs.Spec){
		"mounts":  func(c *specs.Spec) { c.Linux.MountLabel = "system_u:object_r:container_file_t:s0" },
		"process": func(c *specs.Spec) { c.Process.SelinuxLabel = "system_u:system_r:container_t:s0" },
	} {
		r := s.shell(t, edit, "true")
		if r.status == 0 || !strings.Contains(r.err, "not supported here: needs SELinux") {
			t.Errorf("%s: %s", name, r)
		}
	}
	m := mount{kind: "tmpfs", spec: &specs.Mount{}}
	list := []mount{m, {kind: "proc", spec: &specs.Mount{}}, {opt: mountOptions{bind: true}, spec: &specs.Mount{}}}
	labelMounts(list, "a:b:c:s0:c1,c2")
	if got := fmt.Sprint(list[0].superConfig(), list[1].superConfig(), list[2].superConfig()); got != "[[context a:b:c:s0:c1,c2]] [] []" {
		t.Error(got)
	}
}

// What is at a device's place already has to be that device.
func TestDeviceInTheWay(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		for name, c := range map[string]struct {
			make func(path string) error
			ok   bool
		}{
			"file":   {func(p string) error { return os.WriteFile(p, nil, 0o644) }, false},
			"link":   {func(p string) error { return os.Symlink("/dev/full", p) }, false},
			"other":  {func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }, false},
			"device": {func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 7))) }, true},
		} {
			if !c.ok && s.name != "berth" {
				continue // they take what there is
			}
			b := bundle(t, func(spec *specs.Spec) {
				spec.Root.Readonly = false
				spec.Linux.CgroupsPath += name
				spec.Linux.Devices = []specs.LinuxDevice{{Path: "/tmp/full", Type: "c", Major: 1, Minor: 7}}
			}, "stat", "-c", "%t:%T", "/tmp/full")
			if err := c.make(b + "/rootfs/tmp/full"); err != nil {
				t.Fatal(err)
			}
			r := s.run(t, "run", "--bundle", b, s.id(t)+name)
			if (r.status == 0) != c.ok || c.ok && r.out != "1:7\n" || !c.ok && !strings.Contains(r.err, "create device /tmp/full: there is something else: file exists") {
				t.Errorf("%s: %s", name, r)
			}
		}
	})
}

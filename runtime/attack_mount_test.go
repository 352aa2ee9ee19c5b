package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestAttackExchangedTargets shares a volume with containers that are made,
// with other volumes mounted in it, while a process exchanges their mount
// points with links to the host's root (CVE-2021-30465).
//
// Seen to succeed with openat(2) in the place of rootfs.open's openat2: volumes
// were mounted outside, and directories made there.
func TestAttackExchangedTargets(t *testing.T) {
	s := ours(t)
	outside, shared, volume := t.TempDir(), t.TempDir(), t.TempDir()
	up := strings.Repeat("../", 30)
	for name, target := range map[string]string{"trap1": up + outside, "trap2": outside, "trap3": "/proc/self/root" + outside, "trap4": "/proc/1/cwd/"} {
		if err := os.Symlink(target, filepath.Join(shared, name)); err != nil {
			t.Fatal(err)
		}
	}
	var dirs []string
	for _, n := range []string{"1", "2", "3", "4"} {
		dirs = append(dirs, "/shared/dir"+n+"/deep")
		if err := os.Mkdir(filepath.Join(shared, "dir"+n), 0o755); err != nil {
			t.Fatal(err)
		}
		stop := exchange(t, filepath.Join(shared, "dir"+n), filepath.Join(shared, "trap"+n))
		defer stop()
	}
	b := bundle(t, func(c *specs.Spec) {
		c.Linux.CgroupsPath = ""
		c.Root.Readonly = false
		c.Mounts = append(c.Mounts, bindTo("/shared", shared))
		for i, d := range dirs {
			m := bindTo(d, volume)
			if i%2 == 1 {
				m = specs.Mount{Destination: d, Type: "tmpfs", Source: "tmpfs"}
			}
			c.Mounts = append(c.Mounts, m)
		}
	}, "cat", "/proc/self/mountinfo")
	ran := 0
	for range 50 {
		r := s.run(t, "run", "--bundle", b, "exchanged")
		if left, _ := os.ReadDir(outside); len(left) > 0 {
			t.Fatalf("made outside: %v: %s", left, r)
		}
		if r.status != 0 {
			continue
		}
		ran++
		if n := strings.Count(r.out, "\n"); n < 4+len(dirs) {
			t.Fatalf("%d mounts, the container's are more: some are outside: %s", n, r)
		}
	}
	t.Logf("%d of 50 containers ran", ran)
}

// TestAttackHostTree looks in a container for a mount that shows more of the
// host than was given to it, as root with every capability: above the root,
// above a bind's, by unmounting, by leaving the cgroup's root.
//
// Seen to succeed, from every directory, with the old root left where
// pivot_root puts it.
func TestAttackHostTree(t *testing.T) {
	s := ours(t)
	mark := filepath.Join(t.TempDir(), "mark")
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	give := filepath.Dir(mark) + "/given"
	if err := os.Mkdir(give, 0o755); err != nil {
		t.Fatal(err)
	}
	script := `up=../../../../../../../../../../../../../../../..
for top in / /given /sys/fs/cgroup /proc/1/root /proc/1/cwd /dev/pts /dev/shm; do
	cd $top 2>/dev/null && { test -e $up` + mark + ` && echo $top leads out; test -e ../mark && echo mark above $top; }
done
cd /; umount -l /given; test -e /given/mark && echo below given
umount -l /proc; umount -l /sys; umount -l /dev; umount -l / 2>/dev/null
test -e ` + mark + ` && echo the old root is below
mkdir -p /tmp/c && mount -t cgroup2 none /tmp/c && for d in /tmp/c/*/; do test -d $d && echo cgroup of others: $d; done
true`
	r := s.shell(t, func(c *specs.Spec) {
		allCaps(c.Process)
		c.Root.Readonly = false
		c.Mounts = append(c.Mounts, bindTo("/given", give))
		c.Mounts = append(c.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"})
	}, script+"; echo done")
	r.want(t, "done")
	for _, p := range []string{mark, "/proc/self", "/sys/fs/cgroup/cgroup.procs"} {
		if _, err := os.Lstat(p); err != nil {
			t.Errorf("the host has lost %s: %v", p, err)
		}
	}
}

// TestAttackMknod makes devices of the host's disks and memory: without
// CAP_MKNOD not at all, and nowhere that they would work.
//
// Seen to succeed with the capability left.
func TestAttackMknod(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	b := bundle(t, func(c *specs.Spec) {
		attacker(t, c, "mknod")
	})
	r := s.run(t, "run", "--bundle", b, id)
	r.want(t, "")
}

// attackMknod makes a device in every place that can be written to and opens it.
func attackMknod() error {
	for _, dir := range []string{"/", "/dev", "/dev/shm", "/tmp", "/dev/mqueue"} {
		p := filepath.Join(dir, "loot")
		if unix.Mknod(p, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))) == nil {
			os.Stdout.WriteString("made a block device " + p + "\n")
		}
		if unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))) == nil {
			os.Stdout.WriteString("made a character device " + p + "\n")
		}
	}
	return nil
}

// TestAttackDevicesOnMounts uses a device node that a volume, or the host's
// tree, brings: what is mounted nodev gives none.
func TestAttackDevicesOnMounts(t *testing.T) {
	s := ours(t)
	vol := t.TempDir()
	if err := unix.Mknod(vol+"/zero", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil {
		t.Fatal(err)
	}
	s.shell(t, func(c *specs.Spec) {
		m := bindTo("/vol", vol)
		m.Options = append(m.Options, "nodev")
		c.Mounts = append(c.Mounts, m)
	}, "head -c1 /vol/zero 2>/dev/null | wc -c").want(t, "0")
}

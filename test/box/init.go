package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// masked are units that have nothing to do in a box, or would reach for what belongs to the machine: its clock,
// modules, sysctls, terminals and disks, or that wait for a network.
var masked = []string{
	"console-getty.service", "getty.target", "getty-static.service", "getty@tty1.service", "serial-getty@.service",
	"kmod-static-nodes.service", "modprobe@.service", "systemd-modules-load.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
	"systemd-sysctl.service", "systemd-random-seed.service", "systemd-hwdb-update.service",
	"systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket",
	"systemd-udev-trigger.service", "systemd-udev-settle.service",
	"systemd-timesyncd.service", "systemd-time-wait-sync.service",
	"systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service", "systemd-resolved.service",
	"networking.service", "NetworkManager-wait-online.service",
	"systemd-remount-fs.service", "systemd-fsck-root.service", "systemd-pstore.service", "systemd-repart.service", "systemd-growfs-root.service",
	"systemd-firstboot.service", "systemd-machine-id-commit.service", "first-boot-complete.target",
	"systemd-quotacheck.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
	"sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
	"systemd-tpm2-setup.service", "systemd-tpm2-setup-early.service", "systemd-boot-random-seed.service",
	"e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer", "apt-daily.timer", "apt-daily-upgrade.timer",
	"dpkg-db-backup.timer", "man-db.timer", "logrotate.timer", "motd-news.timer",
	"ldconfig.service", "systemd-update-done.service", "systemd-journal-catalog-update.service",
}

// storage are directories whose users stack overlays on them, which an overlay does not allow.
var storage = []string{"berth", "containers", "containerd", "docker"}

// storageDirs are the folders below base that become /var/lib/NAME of the box.
func storageDirs(base string) []string {
	var dirs []string
	for _, name := range storage {
		dirs = append(dirs, filepath.Join(base, name))
	}
	return dirs
}

// initBox runs as PID 1 of the new namespaces: it builds the root, enters it and becomes systemd.
func initBox(args []string) error {
	// The cgroup namespace below is this thread's, and this thread is the one that becomes systemd.
	runtime.LockOSThread()
	if len(args) != 1 {
		return errUsage
	}
	b, err := load(args[0])
	if err != nil {
		return err
	}
	// Not by clone: that would take the parent's cgroup for the root of the namespace.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare cgroup: %w", err)
	}
	if err := unix.Sethostname([]byte(b.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	unix.Umask(0o022)
	if err := freshLimits(); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func(root string) error
	}{
		{"root", b.mountRoot},
		{"kernel file systems", b.mountKernel},
		{"devices", b.makeDevices},
		{"identity", b.writeIdentity},
		{"units", b.quieten},
		{"binds", b.mountBinds},
		{"pivot", pivot},
	} {
		if err := step.do(b.dir("root")); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return becomeSystemd()
}

func mount(src, dst, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(src, dst, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", dst, err)
	}
	return nil
}

func mountNew(dst, src, fstype string, flags uintptr, data string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	return mount(src, dst, fstype, flags, data)
}

// bindMount also works on files. The second call is what makes read-only true.
func bindMount(src, dst string, readOnly bool) error {
	if err := mount(src, dst, "", unix.MS_BIND|unix.MS_REC, ""); err != nil || !readOnly {
		return err
	}
	return mount("", dst, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func (b *box) mountRoot(root string) error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	up := b.dir("up")
	if err := mount("box", up, "tmpfs", 0, "mode=755,size="+b.Memory); err != nil {
		return err
	}
	if err := b.mountOverlay("root", b.Rootfs, root); err != nil {
		return err
	}
	if b.Rootfs == "/" {
		if err := b.mountSubtrees(root); err != nil {
			return err
		}
	}
	base := up
	if b.Disk {
		base = b.dir("disk")
	}
	for i, dir := range storageDirs(base) {
		target := filepath.Join(root, "var/lib", storage[i])
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(target, 0o755)); err != nil {
			return err
		}
		if err := bindMount(dir, target, false); err != nil {
			return err
		}
	}
	return nil
}

// mountOverlay puts the layers' part of tree and memory over tree. An overlay sees one file system of a tree and not
// what is mounted on it.
func (b *box) mountOverlay(name, tree, target string) error {
	upper, work := b.dir("up", name+".upper"), b.dir("up", name+".work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`)
	lower := []string{escape.Replace(tree)}
	for i, layer := range b.Layers {
		if b.Rootfs == "/" {
			layer = filepath.Join(layer, tree)
		}
		if st, err := os.Stat(layer); err != nil || !st.IsDir() {
			continue
		}
		if tree == "/" {
			// A layer within another is refused (ELOOP), and everything is within "/".
			layer = b.dir("up", fmt.Sprint("layer", i))
			if out, err := exec.Command("cp", "-a", b.Layers[i], layer).CombinedOutput(); err != nil {
				return fmt.Errorf("copy layer: %s: %w", strings.TrimSpace(string(out)), err)
			}
		}
		lower = append([]string{escape.Replace(layer)}, lower...)
	}
	return mount("box", target, "overlay", 0,
		"lowerdir="+strings.Join(lower, ":")+",upperdir="+escape.Replace(upper)+",workdir="+escape.Replace(work))
}

// mountSubtrees covers machines that keep parts of / on other disks.
func (b *box) mountSubtrees(root string) error {
	for _, dir := range []string{"usr", "var", "home", "opt", "srv", "root"} {
		if !isMountPoint("/" + dir) {
			continue
		}
		if err := b.mountOverlay(dir, "/"+dir, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

func isMountPoint(dir string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mountKernel mounts proc, sysfs and cgroup2 of the box's own namespaces. What in them belongs to the whole machine is
// read-only; /proc/sys/net is the box's own. A second, complete pair stays in /dev/.box: the kernel lets a user
// namespace mount proc and sysfs only where an unobstructed one is in sight (mount_too_revealing, since Linux 4.2),
// and containers with user namespaces need that.
func (b *box) mountKernel(root string) error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	at := func(p string) string { return filepath.Join(root, p) }
	return errors.Join(
		mountNew(at("dev"), "dev", "tmpfs", unix.MS_NOSUID, "mode=755"),
		mountNew(at("dev/shm"), "shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
		mountNew(at("dev/mqueue"), "mqueue", "mqueue", safe, ""),
		mountNew(at("dev/pts"), "devpts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"),
		mountNew(at("dev/.box/proc"), "proc", "proc", safe, ""),
		mountNew(at("dev/.box/sys"), "sysfs", "sysfs", safe, ""),
		os.Chmod(at("dev/.box"), 0o700),
		mountNew(at("proc"), "proc", "proc", safe, ""),
		bindMount(at("proc/sys"), at("proc/sys"), true),
		ifExists(at("proc/sysrq-trigger"), func(p string) error { return bindMount(p, p, true) }),
		bindMount(at("dev/.box/proc/sys/net"), at("proc/sys/net"), false),
		mountNew(at("sys"), "sysfs", "sysfs", safe|unix.MS_RDONLY, ""),
		mount("cgroup2", at("sys/fs/cgroup"), "cgroup2", safe, ""),
		mountNew(at("run"), "run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"),
		mountNew(at("tmp"), "tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
		os.Mkdir(at("run/host"), 0o755),
		mount(b.dir("host"), at("run/host"), "", unix.MS_BIND, ""),
	)
}

func ifExists(path string, do func(string) error) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return do(path)
}

// makeDevices makes the harmless nodes. There is no /dev/kmsg: journald would copy the machine's kernel log.
func (b *box) makeDevices(root string) error {
	dev := filepath.Join(root, "dev")
	if err := os.Mkdir(filepath.Join(dev, "net"), 0o755); err != nil {
		return err
	}
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9},
		{"tty", 5, 0}, {"fuse", 10, 229}, {"net/tun", 10, 200},
	} {
		path := filepath.Join(dev, d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("mknod %s: %w", path, err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "core": "/proc/kcore",
	} {
		if err := os.Symlink(target, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	return nil
}

// writeIdentity gives the box a name and a machine ID. An empty machine ID would make this a first boot, at which
// systemd enables every unit that no preset disables.
func (b *box) writeIdentity(root string) error {
	id := make([]byte, 16)
	rand.Read(id)
	return errors.Join(
		replaceFile(root, "etc/machine-id", hex.EncodeToString(id)+"\n"),
		replaceFile(root, "etc/hostname", b.Name+"\n"),
		replaceFile(root, "etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 "+b.Name+"\n"),
		replaceFile(root, "etc/fstab", ""),
	)
}

// replaceFile does not follow what is there: that may be a link that leaves the tree.
func replaceFile(root, name, content string) error {
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// quieten masks units and, over the machine's own root, disables everything that the machine enabled: its services
// are none of the box's business.
func (b *box) quieten(root string) error {
	units := filepath.Join(root, "run/systemd/system")
	if err := os.MkdirAll(units, 0o755); err != nil {
		return err
	}
	for _, unit := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(units, unit)); err != nil {
			return err
		}
	}
	err := replaceFile(root, "run/systemd/journald.conf.d/box.conf",
		"[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\nForwardToWall=no\nReadKMsg=no\nAudit=no\n")
	if err != nil || b.Rootfs != "/" {
		return err
	}
	for _, pattern := range []string{"etc/systemd/system/*.wants", "etc/systemd/system/*.requires", "etc/systemd/user/*.wants"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	// Init scripts of old become units by a generator.
	generators := filepath.Join(root, "run/systemd/system-generators")
	if err := os.Mkdir(generators, 0o755); err != nil {
		return err
	}
	return os.Symlink("/dev/null", filepath.Join(generators, "systemd-sysv-generator"))
}

func (b *box) mountBinds(root string) error {
	for _, v := range b.Binds {
		dst, err := securejoin.SecureJoin(root, v.Dst)
		if err != nil {
			return err
		}
		st, err := os.Stat(v.Src)
		if err != nil {
			return err
		}
		if st.IsDir() {
			err = os.MkdirAll(dst, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(dst), 0o755); err == nil {
			var f *os.File
			if f, err = os.OpenFile(dst, os.O_CREATE, 0o644); err == nil {
				err = f.Close()
			}
		}
		if err != nil {
			return err
		}
		if err := bindMount(v.Src, dst, v.ReadOnly); err != nil {
			return err
		}
	}
	return nil
}

// pivot makes root the root, drops the machine's mounts, and shares what remains as a booted machine does: container
// engines complain about a private root.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func becomeSystemd() error {
	env := []string{
		"container=box", // systemd then leaves alone what a container's manager has set up
		"NOTIFY_SOCKET=/run/host/notify",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
	}
	for _, path := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		err := unix.Exec(path, []string{"systemd", "--system", "--unit=multi-user.target"}, env)
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("exec %s: %w", path, err)
		}
	}
	return errors.New("no systemd in this tree: want /usr/lib/systemd/systemd")
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

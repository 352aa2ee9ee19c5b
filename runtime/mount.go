package runtime

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mount is one entry of the configuration's mounts on its way into the
// container: first a tree that is attached nowhere, then moved to its place.
type mount struct {
	spec  *specs.Mount
	opt   mountOptions
	kind  string // file system type, cgroup read as cgroup2
	fd    int    // the detached tree, -1 while there is none
	idmap int    // the user namespace that maps its ids
	file  bool   // the tree's root is no directory
	// child says that the container's init makes the file system, because
	// what is made depends on who makes it: proc on the pid namespace, cgroup2
	// on the cgroup namespace, any on the user namespace.
	child bool
}

// sharedSuper are the file systems whose superblock is the kernel's: options
// of the mount say nothing about it.
var sharedSuper = map[string]bool{"proc": true, "sysfs": true, "cgroup2": true, "mqueue": true}

// maxOption is what fsconfig takes as a string; longer ones need mount(2).
const maxOption = 255

// planMounts reads the configuration's mounts, in order.
func planMounts(s *specs.Spec, ns namespaces, bundle string) ([]mount, error) {
	list := make([]mount, len(s.Mounts))
	user := ns.all()&unix.CLONE_NEWUSER != 0
	root, _, _ := rootPropagation(s.Linux.RootfsPropagation)
	for i := range s.Mounts {
		m := &list[i]
		m.spec, m.fd = &s.Mounts[i], -1
		m.opt = parseMountOptions(m.spec)
		m.kind = m.spec.Type
		if m.kind == "cgroup" {
			m.kind = "cgroup2"
		}
		if err := m.checkIDMap(user); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.spec.Destination, err)
		}
		if m.opt.remount {
			continue
		}
		if m.opt.tmpcopyup && !m.plainTmpfs() {
			return nil, fmt.Errorf("mount %s: tmpcopyup is for a tmpfs", m.spec.Destination)
		}
		if m.opt.bind {
			if m.spec.Source == "" {
				return nil, fmt.Errorf("mount %s: bind mount without a source", m.spec.Destination)
			}
			if !filepath.IsAbs(m.spec.Source) {
				m.spec.Source = filepath.Join(bundle, m.spec.Source)
			}
			m.opt.inherit(root)
			continue
		}
		if m.kind == "" || m.kind == "none" {
			return nil, fmt.Errorf("mount %s: neither a type nor a bind mount", m.spec.Destination)
		}
		switch m.kind {
		case "proc":
			m.child = true
		case "cgroup2":
			m.child = ns.all()&(unix.CLONE_NEWCGROUP|unix.CLONE_NEWUSER) != 0
		case "tmpfs", "devpts", "mqueue":
			m.child = user
		}
	}
	return list, nil
}

// bindCgroups has the container's own cgroup bound where cgroup2 cannot be
// mounted: a user namespace without a cgroup namespace may not.
func bindCgroups(list []mount, ns namespaces, leaf string) {
	if ns.all()&(unix.CLONE_NEWUSER|unix.CLONE_NEWCGROUP) != unix.CLONE_NEWUSER || leaf == "" {
		return
	}
	for i := range list {
		if m := &list[i]; m.kind == "cgroup2" && !m.opt.bind && !m.opt.remount {
			bound := *m.spec
			bound.Source = leaf
			m.spec, m.child = &bound, false
			m.opt.bind = true
			m.opt.inherit(0)
		}
	}
}

// openSource clones the tree of a bind mount.
func (m *mount) openSource() error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if m.opt.recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.spec.Source, flags)
	if err != nil {
		return fmt.Errorf("open %s: %w", m.spec.Source, err)
	}
	m.fd = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", m.spec.Source, err)
	}
	m.file = st.Mode&unix.S_IFMT != unix.S_IFDIR
	return nil
}

func closeSources(list []mount) {
	for i := range list {
		if list[i].fd >= 0 {
			unix.Close(list[i].fd)
			list[i].fd = -1
		}
	}
}

// superConfig is what fsconfig is told, key by key; without value it is a flag.
func (m *mount) superConfig() [][2]string {
	var list [][2]string
	if m.spec.Source != "" {
		list = append(list, [2]string{"source", m.spec.Source})
	}
	if m.opt.attr.set&unix.MOUNT_ATTR_RDONLY != 0 && !sharedSuper[m.kind] && m.kind != "tmpfs" {
		list = append(list, [2]string{"ro", ""})
	}
	for _, o := range m.opt.sb {
		list = append(list, [2]string{o, ""})
	}
	for _, o := range m.opt.data {
		k, v, _ := strings.Cut(o, "=")
		list = append(list, [2]string{k, v})
	}
	return list
}

// makeByChild adds the steps with which the init makes the file system and
// sends the detached mount.
// free is the lowest number that no descriptor of the init has.
func (m *mount) makeByChild(p *program, sock, free int) {
	what := fmt.Sprintf("mount %s (%s)", m.spec.Destination, m.kind)
	fs, fd := uint64(free), uint64(free+1)
	p.add(what+": fsopen", unix.SYS_FSOPEN, p.str(m.kind), unix.FSOPEN_CLOEXEC)
	for _, kv := range m.superConfig() {
		cmd, val := uint64(unix.FSCONFIG_SET_FLAG), uint64(0)
		if kv[1] != "" || kv[0] == "source" {
			cmd, val = unix.FSCONFIG_SET_STRING, p.str(kv[1])
		}
		p.add(what+": option "+kv[0], unix.SYS_FSCONFIG, fs, cmd, p.str(kv[0]), val, 0)
	}
	p.add(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	p.add(what+": fsmount", unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, m.makeAttrs())
	p.sendFD(sock, free+1)
	p.add("", unix.SYS_CLOSE, fd).flags = anyError
	p.add("", unix.SYS_CLOSE, fs).flags = anyError
}

// make makes a file system with the calling thread and returns the detached mount.
func (m *mount) make() (int, error) {
	fs, err := unix.Fsopen(m.kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := m.configure(fs); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(m.makeAttrs()))
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}

// long says that an option is too long for fsconfig.
func (m *mount) long() bool {
	return slices.ContainsFunc(m.opt.data, func(o string) bool {
		_, v, _ := strings.Cut(o, "=")
		return len(v) > maxOption
	})
}

// makeAt mounts by mount(2) on the directory that target is open on.
func (m *mount) makeAt(target int) error {
	var flags uintptr
	if m.opt.attr.set&unix.MOUNT_ATTR_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount(m.spec.Source, fdPath(target), m.kind, flags, strings.Join(m.opt.data, ","))
}

// fdPath names a descriptor of this thread for a system call that takes a path.
func fdPath(fd int) string { return fmt.Sprintf("/proc/thread-self/fd/%d", fd) }

// moveTo attaches a detached tree on what target is open on.
func moveTo(tree, target int) error {
	return unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// attach puts the mount at its place in the container. tree is the detached
// mount; it is closed.
func (m *mount) attach(r *rootfs) error {
	tree := m.fd
	m.fd = -1
	keep := false
	defer func() {
		if !keep {
			unix.Close(tree)
		}
	}()
	if err := m.checkProc(tree); err != nil {
		return err
	}
	if m.opt.bind {
		if err := m.opt.apply(tree); err != nil {
			return err
		}
	} else if err := m.opt.applyRest(tree); err != nil {
		return err
	}
	target, err := m.target(*r)
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	defer unix.Close(target)
	if err := moveTo(tree, target); err != nil {
		return err
	}
	if path.Clean(m.spec.Destination) == "/proc" {
		r.forgetProc()
		r.proc, keep = tree, true
	}
	return nil
}

// remount changes what is mounted at the place already: the mount's attributes,
// and where there are options for the file system, that.
func (m *mount) remount(r rootfs) error {
	fd, err := r.path(m.spec.Destination)
	if err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	defer unix.Close(fd)
	if err := m.opt.apply(fd); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	if m.opt.bind || len(m.opt.data)+len(m.opt.sb) == 0 {
		return nil
	}
	fs, err := unix.Fspick(fd, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	defer unix.Close(fs)
	of := specs.Mount{} // the source of what is mounted stays
	change := mount{spec: &of, opt: m.opt, kind: m.kind}
	change.opt.attr = attrs{}
	if err := change.configure(fs); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return fmt.Errorf("remount: %w", err)
	}
	return nil
}

// configure tells a file system that is being made or changed its options.
func (m *mount) configure(fs int) (err error) {
	for _, kv := range m.superConfig() {
		if kv[1] != "" || kv[0] == "source" {
			err = unix.FsconfigSetString(fs, kv[0], kv[1])
		} else {
			err = unix.FsconfigSetFlag(fs, kv[0])
		}
		if err != nil {
			return fmt.Errorf("option %s: %w", kv[0], err)
		}
	}
	return nil
}

// applyRest applies what fsmount has not been told already.
func (o *mountOptions) applyRest(fd int) error {
	rest := *o
	rest.attr = attrs{}
	return rest.apply(fd)
}

// target opens the mount point, making it where it is missing. Symbolic links on
// the way are followed inside of the root, but never into /proc, whose files say
// who the container is (CVE-2025-52881), and not at all for proc and sysfs, whose
// paths are masked by name afterwards (CVE-2019-19921).
func (m *mount) target(r rootfs) (int, error) {
	if m.kind == "proc" || m.kind == "sysfs" {
		return r.ordinary(m.spec.Destination, m.file)
	}
	flags := uint64(unix.O_PATH)
	if !m.file {
		flags |= unix.O_DIRECTORY
	}
	fd, err := r.resolve(m.spec.Destination, flags, 0, unix.RESOLVE_NO_SYMLINKS)
	switch {
	case err == nil:
		return fd, nil
	case m.file:
		fd, err = r.touch(m.spec.Destination)
	default:
		fd, err = r.mkdirAll(m.spec.Destination, 0o755)
	}
	if err == nil && isProc(fd) {
		unix.Close(fd)
		return -1, errors.New("a symbolic link leads into /proc")
	}
	return fd, err
}

func isProc(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC
}

// checkProc refuses a mount in /proc that makes it say something false of
// processes and of the kernel's settings (CVE-2019-16884): on /proc itself
// there can only be a proc, below it files of the system's statistics.
func (m *mount) checkProc(tree int) error {
	p := path.Clean(m.spec.Destination)
	below, ok := strings.CutPrefix(p, "/proc/")
	if p != "/proc" && !ok {
		return nil
	}
	if p == "/proc" {
		if m.kind == "proc" || isProc(tree) {
			return nil
		}
		return errors.New("only a proc file system can be on /proc")
	}
	first, _, _ := strings.Cut(below, "/")
	number := strings.Trim(first, "0123456789") == ""
	if !m.file || number || first == "self" || first == "thread-self" ||
		first == "sys" && below != "sys/kernel/ns_last_pid" && below != "sys/crypto/fips_enabled" {
		return errors.New("it cannot be inside of /proc")
	}
	return nil
}

// isRoot says that the mount is the container's root itself.
func (m *mount) isRoot() bool { return path.Clean(m.spec.Destination) == "/" }

// maskPaths hides paths of the container: a file behind /dev/null, a directory
// behind an empty read-only tmpfs. What does not exist needs no hiding.
func maskPaths(r rootfs, paths []string) error {
	shade := -1 // the tmpfs, attached somewhere already
	defer func() {
		if shade >= 0 {
			unix.Close(shade)
		}
	}()
	for _, p := range paths {
		if err := maskPath(r, p, &shade); err != nil {
			return fmt.Errorf("mask path %s: %w", p, err)
		}
	}
	return nil
}

// makeShade makes an empty, read-only file system.
func makeShade() (int, error) {
	m := mount{kind: "tmpfs", spec: &specs.Mount{Source: "tmpfs"}}
	m.opt.attr.set = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	m.opt.data = []string{"nr_blocks=1", "nr_inodes=1"}
	return m.make()
}

func maskPath(r rootfs, p string, shade *int) error {
	target, err := r.path(p)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(target)
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		null, err := openDevice("/dev/null", 1, 3)
		if err != nil {
			return err
		}
		defer unix.Close(null)
		return moveTo(null, target)
	}
	if *shade < 0 {
		fd, err := makeShade()
		if err != nil {
			return err
		}
		*shade = fd
		return moveTo(fd, target)
	}
	fd, err := unix.OpenTree(*shade, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return moveTo(fd, target)
}

// openDevice clones the mount of one of the host's device nodes and makes sure
// that it is the device that it is taken for.
func openDevice(path string, major, minor uint32) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(major, minor) {
		unix.Close(fd)
		return -1, fmt.Errorf("open %s: not the device %d:%d", path, major, minor)
	}
	return fd, nil
}

// readonlyPaths makes paths of the container read-only, with all mounts below.
func readonlyPaths(r rootfs, paths []string) error {
	for _, p := range paths {
		if err := readonlyPath(r, p); err != nil {
			return fmt.Errorf("make %s read-only: %w", p, err)
		}
	}
	return nil
}

func readonlyPath(r rootfs, p string) error {
	target, err := r.path(p)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(target)
	tree, err := unix.OpenTree(target, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := setattr(tree, true, attrs{set: unix.MOUNT_ATTR_RDONLY}, 0); err != nil {
		return err
	}
	return moveTo(tree, target)
}

package runtime

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setUp makes the init and, from outside of its pid namespace but inside of
// its others, everything around it.
// Preconditions: the thread is locked and never unlocked.
func (l *launch) setUp(first uint64) (err error) {
	if err := blockSignals(); err != nil {
		return err
	}
	for _, j := range l.ns.join {
		if j.flag&(unix.CLONE_NEWCGROUP|unix.CLONE_NEWUSER|unix.CLONE_NEWTIME|unix.CLONE_NEWNS) != 0 {
			continue // the init does
		}
		if err := j.enter(); err != nil {
			return err
		}
	}
	if err := l.newTime(); err != nil {
		return err
	}
	if err := l.clone(first); err != nil {
		return err
	}
	saved := make(chan error, 1)
	l.asked <- func() { saved <- l.save() }
	if err := l.mapIDs(); err != nil {
		return err
	}
	if err := l.score(); err != nil {
		return err
	}
	if r := l.c.rec.Resctrl; r != nil {
		if err := r.add(l.pid); err != nil {
			return err
		}
	}
	if err := l.openIDMaps(); err != nil {
		return err
	}
	l.attrs = attrsOf(l.spec.Process)
	if err := openAttrs(l.pid, l.attrs); err != nil {
		return err
	}
	if err := l.enterMounts(); err != nil {
		return err
	}
	if l.root.fd, err = l.openRoot(); err != nil {
		return err
	}
	if err := l.moveDevices(); err != nil {
		return err
	}
	if err := l.enterOthers(); err != nil {
		return err
	}
	if err := l.makeTrees(); err != nil {
		return err
	}
	if err := l.enter(); err != nil {
		return err
	}
	if err := l.names(); err != nil {
		return err
	}
	if err := l.fill(); err != nil {
		return err
	}
	p := l.spec.Process
	cmd, err := l.root.lookup(p)
	if err != nil {
		return err
	}
	env := processEnv(p, l.root.home(p.User.UID))
	if err := l.openProcess(cmd); err != nil {
		return err
	}
	if err := l.leave(); err != nil {
		return err
	}
	if h := l.spec.Hooks; h != nil && !l.wait && len(h.StartContainer) > 0 {
		if err := l.startHooks(h.StartContainer); err != nil {
			return err
		}
	}
	if err := <-saved; err != nil {
		return err
	}
	return l.proceed(cmd, env)
}

// blockSignals blocks every signal on the thread: the init inherits that, and
// none may reach it while it has no handlers of its own.
func blockSignals() error {
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	return nil
}

// clone starts the init in its new namespaces and its cgroup.
func (l *launch) clone(first uint64) error {
	pidfd := l.prog.words(0)
	args := cloneArgs{
		// CLONE_CLEAR_SIGHAND, Linux 5.5: Go's handlers mean nothing to it.
		flags:      unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND,
		exitSignal: uint64(unix.SIGCHLD),
		pidfd:      pidfd,
	}
	again := l.ns.joins(unix.CLONE_NEWUSER)
	if !again {
		args.flags |= l.ns.fresh &^ notCloned
	}
	if l.cgroupFD >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(l.cgroupFD)
	}
	pid, err := l.prog.clone(&args, first)
	if err != nil {
		return fmt.Errorf("clone container's init: %w", err)
	}
	l.pid, l.pidfd = pid, int(l.prog.load32(pidfd))
	unix.Close(l.theirs)
	l.theirs = -1
	if l.listen >= 0 {
		unix.Close(l.listen)
		l.listen = -1
	}
	if l.opt.Place != nil {
		if err := l.onHost(l.place); err != nil {
			return err
		}
	}
	if again {
		return l.secondClone()
	}
	return nil
}

// secondClone takes over the process that the first one has made: see cloneAgain.
func (l *launch) secondClone() error {
	_, fds, err := receive(l.sock)
	if err != nil {
		return err
	}
	if len(fds) != 1 {
		closeAll(fds)
		return fmt.Errorf("clone container's init: it ended")
	}
	reap(l.pid) //nolint:errcheck // it ends in any case
	unix.Close(l.pidfd)
	l.pid, l.pidfd = 0, fds[0]
	if l.pid, err = pidOf(l.pidfd); err != nil {
		return err
	}
	if l.root.uid, l.root.gid, err = rootOf(l.pid); err != nil {
		return err
	}
	return unix.Send(l.sock, []byte{1}, unix.MSG_NOSIGNAL)
}

// pidOf is the pid of the process that a pidfd is of.
func pidOf(pidfd int) (int, error) {
	b, err := readFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, fmt.Errorf("read pid of pidfd: %w", err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			if pid, err := strconv.Atoi(strings.TrimSpace(v)); err == nil && pid > 0 {
				return pid, nil
			}
		}
	}
	return 0, fmt.Errorf("read pid of pidfd: container's init ended")
}

// rootOf is what 0 is on the outside of a process's user namespace.
func rootOf(pid int) (uid, gid int, err error) {
	for _, m := range []struct {
		file string
		id   *int
	}{{"uid_map", &uid}, {"gid_map", &gid}} {
		b, err := readFile("/proc/" + strconv.Itoa(pid) + "/" + m.file)
		if err != nil {
			return 0, 0, fmt.Errorf("read %s of %d: %w", m.file, pid, err)
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			var inside, outside, n int
			if _, err := fmt.Sscan(line, &inside, &outside, &n); err == nil && inside == 0 {
				*m.id = outside
			}
		}
	}
	return uid, gid, nil
}

// mapIDs writes the mappings of a new user namespace and tells the init.
func (l *launch) mapIDs() error {
	if l.ns.fresh&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	uids, gids := l.spec.Linux.UIDMappings, l.spec.Linux.GIDMappings
	if err := l.writeMap("gid_map", gids); err != nil {
		return err
	}
	if err := l.writeMap("uid_map", uids); err != nil {
		return err
	}
	l.root.uid, l.root.gid = hostID(uids, 0), hostID(gids, 0)
	return unix.Send(l.sock, []byte{1}, unix.MSG_NOSIGNAL)
}

func (l *launch) writeMap(file string, maps []specs.LinuxIDMapping) error {
	if len(maps) == 0 {
		return fmt.Errorf("user namespace: %s: no mapping given", file)
	}
	return l.writeProc(file, mapText(maps))
}

// writeProc writes a file of the init's directory in the host's /proc.
func (l *launch) writeProc(file, value string) error {
	return writeFile("/proc/"+strconv.Itoa(l.pid)+"/"+file, value)
}

// hostID is what an id of the container is outside of it; 0 where it is nothing.
func hostID(maps []specs.LinuxIDMapping, id uint32) int {
	for _, m := range maps {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return int(m.HostID + (id - m.ContainerID))
		}
	}
	return 0
}

// score sets the OOM score, the priorities and, for a user namespace, the hard limits that
// its root may not raise.
func (l *launch) score() error {
	p := l.spec.Process
	if p.OOMScoreAdj != nil {
		if err := l.writeProc("oom_score_adj", strconv.Itoa(*p.OOMScoreAdj)); err != nil {
			return err
		}
	}
	if err := schedule(l.pid, p); err != nil {
		return err
	}
	if l.ns.all()&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	return raiseLimits(l.pid, p.Rlimits)
}

// raiseLimits raises the hard limits of a process as far as it is asked for.
func raiseLimits(pid int, list []specs.POSIXRlimit) error {
	for _, r := range list {
		var cur unix.Rlimit
		res := int(rlimits[r.Type])
		if err := unix.Prlimit(pid, res, nil, &cur); err != nil {
			return fmt.Errorf("get rlimit %s: %w", r.Type, err)
		}
		if r.Hard <= cur.Max {
			continue
		}
		if err := unix.Prlimit(pid, res, &unix.Rlimit{Cur: cur.Cur, Max: r.Hard}, nil); err != nil {
			return fmt.Errorf("set rlimit %s: %w", r.Type, err)
		}
	}
	return nil
}

// openRoot clones the tree of the root directory, if it was not handed over.
func (l *launch) openRoot() (fd int, err error) {
	path := l.c.rec.Rootfs
	if l.opt.Root != nil {
		fd, err = unix.FcntlInt(l.opt.Root.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	} else {
		fd, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	}
	if err != nil {
		return -1, fmt.Errorf("open root %s: %w", path, err)
	}
	// Private: pivot_root wants no shared mounts, and what the container
	// mounts in its root is nobody else's business. rootfsPropagation comes later.
	if err := setattr(fd, true, attrs{}, unix.MS_PRIVATE); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make root %s private: %w", path, err)
	}
	return fd, nil
}

// created is the state that hooks of create are told: they come after the
// lifecycle's second step, in which a container is still being created.
func (l *launch) created() specs.State {
	c := *l.c
	c.rec.Pid = l.pid
	return c.stateAs(specs.StateCreated)
}

// hostHooks runs the hooks whose place is the runtime's namespaces.
func (l *launch) hostHooks() error {
	h := l.spec.Hooks
	//lint:ignore SA1019 engines still use prestart
	if h == nil || len(h.Prestart) == 0 && len(h.CreateRuntime) == 0 {
		return nil
	}
	return l.onHost(func() error {
		//lint:ignore SA1019 as above
		if err := runHooks(l.ctx, "prestart", h.Prestart, l.created()); err != nil {
			return err
		}
		return runHooks(l.ctx, "createRuntime", h.CreateRuntime, l.created())
	})
}

// startHooks runs the startContainer hooks from the container's namespaces.
func (l *launch) startHooks(hooks []specs.Hook) error {
	// Of the children to come, not of this thread.
	if l.ns.all()&unix.CLONE_NEWPID != 0 {
		if err := unix.Setns(l.pidfd, unix.CLONE_NEWPID); err != nil {
			return fmt.Errorf("join pid namespace: %w", err)
		}
	}
	return runHooks(l.ctx, "startContainer", hooks, l.c.stateAs(specs.StateCreated))
}

// names sets what the container's own namespaces are told once.
func (l *launch) names() error {
	if l.spec.Hostname != "" {
		if err := unix.Sethostname([]byte(l.spec.Hostname)); err != nil {
			return fmt.Errorf("set hostname: %w", err)
		}
	}
	if l.spec.Domainname != "" {
		if err := unix.Setdomainname([]byte(l.spec.Domainname)); err != nil {
			return fmt.Errorf("set domainname: %w", err)
		}
	}
	if l.ns.fresh&unix.CLONE_NEWNET != 0 {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bring up lo: %w", err)
		}
	}
	return nil
}

// fill mounts everything below the root and makes what belongs into it.
func (l *launch) fill() error {
	for i := range l.mounts {
		if err := l.mount(&l.mounts[i]); err != nil {
			return err
		}
	}
	user := l.ns.all()&unix.CLONE_NEWUSER != 0
	if !hostDev(l.mounts) {
		if err := setupDev(l.root, l.spec.Linux.Devices, user); err != nil {
			return err
		}
	}
	if p := l.spec.Process; p.Terminal {
		if err := l.terminal(p); err != nil {
			return err
		}
	}
	if err := l.createHooks(); err != nil {
		return err
	}
	if err := l.sysctls(); err != nil {
		return err
	}
	if err := readonlyPaths(l.root, l.spec.Linux.ReadonlyPaths); err != nil {
		return err
	}
	if err := maskPaths(l.root, l.spec.Linux.MaskedPaths); err != nil {
		return err
	}
	if l.spec.Root.Readonly {
		if err := setattr(l.root.fd, false, attrs{set: unix.MOUNT_ATTR_RDONLY}, 0); err != nil {
			return fmt.Errorf("make root read-only: %w", err)
		}
	}
	return nil
}

// createHooks runs the hooks of create. Hooks mount things into the root, make
// files in it, and make network devices that sysctls are about: all mounts are
// there, nothing is read-only or masked yet, and sysctls come after.
func (l *launch) createHooks() error {
	l.hooked = true
	if err := l.hostHooks(); err != nil {
		return err
	}
	if h := l.spec.Hooks; h != nil {
		return runHooks(l.ctx, "createContainer", h.CreateContainer, l.created())
	}
	return nil
}

// makeTrees makes what will be mounted, attached nowhere, while the thread is
// still in the host's mount namespace: the paths of binds are the caller's, and
// what is cloned there is still a peer of the host's mount (rshared) and not
// locked by a user namespace. In the configuration's order, since from Linux 6.8
// on mountinfo lists mounts as they were made. What is made for a user namespace
// without being made by its init is left to mount, where that namespace's rules
// of what may be seen hold.
func (l *launch) makeTrees() error {
	user := l.ns.all()&unix.CLONE_NEWUSER != 0
	for i := range l.mounts {
		m := &l.mounts[i]
		var err error
		switch {
		case m.opt.remount:
		case m.opt.bind:
			err = m.openSource()
		case m.child:
			m.fd, err = l.receiveTree()
		case m.long():
		case !user:
			m.fd, err = m.make()
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.spec.Destination, err)
		}
	}
	return nil
}

// receiveTree takes what the init has made.
func (l *launch) receiveTree() (int, error) {
	_, fds, err := receive(l.sock)
	if err != nil {
		return -1, err
	}
	if len(fds) != 1 {
		closeAll(fds)
		return -1, errors.New("container's init ended")
	}
	return fds[0], nil
}

// mount attaches one of the configuration's mounts.
func (l *launch) mount(m *mount) error {
	where := "mount " + m.spec.Destination
	if m.opt.remount {
		if err := m.remount(l.root); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		return nil
	}
	if m.long() && !m.child {
		return l.mountLong(m)
	}
	if m.fd < 0 { // makeTrees has left it
		fd, err := m.make()
		if err != nil {
			return fmt.Errorf("%s (%s): %w", where, m.kind, err)
		}
		m.fd = fd
	}
	if m.plainTmpfs() {
		if err := m.likeBelow(l.root); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	if m.kind == "mqueue" {
		if err := l.labelFile(fdPath(m.fd)); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	if err := m.applyIDMap(); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if m.isRoot() {
		return l.replaceRoot(m)
	}
	if err := m.attach(&l.root); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// replaceRoot mounts on the root itself, which this then is. An engine has its
// root file system mounted by the runtime in this way, where only the container sees it.
func (l *launch) replaceRoot(m *mount) error {
	tree := m.fd
	m.fd = -1
	if err := m.opt.applyRest(tree); err != nil {
		unix.Close(tree)
		return fmt.Errorf("mount /: %w", err)
	}
	if err := setattr(tree, true, attrs{}, unix.MS_PRIVATE); err != nil {
		unix.Close(tree)
		return fmt.Errorf("mount /: %w", err)
	}
	if err := moveTo(tree, l.root.fd); err != nil {
		unix.Close(tree)
		return fmt.Errorf("mount /: %w", err)
	}
	unix.Close(l.root.fd)
	l.root.fd = tree
	l.root.forgetProc()
	return nil
}

// mountLong mounts what fsconfig does not take: overlays of many layers.
func (l *launch) mountLong(m *mount) error {
	where := "mount " + m.spec.Destination
	if path.Clean(m.spec.Destination) == "/proc" || strings.HasPrefix(path.Clean(m.spec.Destination), "/proc/") {
		return fmt.Errorf("%s: it cannot be inside of /proc", where)
	}
	if m.opt.idmap {
		return &UnsupportedError{Feature: where + " with mapped ids and options that long"}
	}
	target, err := m.target(l.root)
	if err != nil {
		return fmt.Errorf("%s: make mount point: %w", where, err)
	}
	defer unix.Close(target)
	if err := m.makeAt(target); err != nil {
		return fmt.Errorf("%s (%s): %w", where, m.kind, err)
	}
	var top int
	if m.isRoot() {
		top, err = unix.Open(l.c.rec.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	} else {
		top, err = l.root.path(m.spec.Destination)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if err := m.opt.apply(top); err != nil {
		unix.Close(top)
		return fmt.Errorf("%s: %w", where, err)
	}
	if !m.isRoot() {
		return unix.Close(top)
	}
	unix.Close(l.root.fd)
	l.root.fd = top
	l.root.forgetProc()
	return setattr(top, true, attrs{}, unix.MS_PRIVATE)
}

// terminal makes the terminal, puts it at /dev/console and sends its master away.
func (l *launch) terminal(p *specs.Process) error {
	uid := hostOr(l.spec.Linux.UIDMappings, p.User.UID)
	t, err := openTerminal(l.root, uid, -1, p.ConsoleSize)
	if err != nil {
		return err
	}
	l.term = t
	if err := l.labelFile(fdPath(t.slave)); err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	tree, err := unix.OpenTree(t.slave, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("mount /dev/console: %w", err)
	}
	defer unix.Close(tree)
	// No link: the terminal would hide something else (CVE-2025-52565).
	target, err := l.root.ordinary("/dev/console", true)
	if err != nil {
		return fmt.Errorf("mount /dev/console: %w", err)
	}
	defer unix.Close(target)
	if err := moveTo(tree, target); err != nil {
		return fmt.Errorf("mount /dev/console: %w", err)
	}
	if l.opt.ConsoleSocket == "" {
		return nil
	}
	err = l.onHost(func() error { return sendTerminal(l.opt.ConsoleSocket, t) })
	unix.Close(l.term.master)
	l.term.master = -1
	return err
}

// hostOr is hostID for a container that may have no mappings.
func hostOr(maps []specs.LinuxIDMapping, id uint32) int {
	if len(maps) == 0 {
		return int(id)
	}
	return hostID(maps, id)
}

// sendTerminal sends the master to who listens at the console socket.
func sendTerminal(socket string, t terminal) error {
	return sendFD("console", socket, t.name, t.master)
}

// sendPidfd sends a process's pidfd to who listens at the socket.
func sendPidfd(socket string, pidfd int) error { return sendFD("pidfd", socket, socket, pidfd) }

// sendFD connects to a socket that the caller listens at, and sends a descriptor
// with its name.
func sendFD(what, socket, name string, send int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return fmt.Errorf("connect to %s socket %s: %w", what, socket, err)
	}
	if err := unix.Sendmsg(fd, []byte(name), unix.UnixRights(send), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send %s to %s: %w", what, socket, err)
	}
	return nil
}

// openProcess opens what the process needs of the container's files while no
// magic link can be in the way: its directory (CVE-2024-21626) and its program.
func (l *launch) openProcess(cmd command) error {
	p := l.spec.Process
	var err error
	if l.cwd, err = l.root.mkdirAll(p.Cwd, 0o755); err != nil {
		return fmt.Errorf("open cwd %s: %w", p.Cwd, err)
	}
	l.exe = openProgram(l.root, p, cmd)
	return nil
}

// openProgram opens the file that will be executed, or an empty one in its
// stead if it cannot be read: what matters is that it is not ours (becomeFile).
func openProgram(r rootfs, p *specs.Process, cmd command) int {
	path := cmd.paths[0]
	if !strings.HasPrefix(path, "/") {
		path = p.Cwd + "/" + path
	}
	fd, err := r.open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		fd, err = unix.MemfdCreate("unreadable", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1
	}
	return fd
}

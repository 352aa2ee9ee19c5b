package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/berthrun/berth/runtime/internal/nofile"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CreateOptions are the parts of create and run that are not in the configuration.
type CreateOptions struct {
	PidFile       string
	ConsoleSocket string // where the terminal's master is sent
	Detach        bool   // Run: nobody will attend the container
	PreserveFDs   int    // descriptors from 3 on that the container gets
	NoPivot       bool
	NoNewKeyring  bool
	// Delegated says that the cgroup is a leaf whose giver, a unit of systemd
	// above it, has the container's limits already: no controllers are enabled
	// for it, and those limits that it has no file for are passed over.
	// Otherwise a limit that cannot be set is an error.
	Delegated bool
	// Place, where it is set, gives the container's first process a cgroup: it
	// is called when that exists and has done nothing yet. linux.cgroupsPath is
	// Place's to read; the limits are written to the cgroup afterwards.
	Place func(id string, spec *specs.Spec, pid int) (Place, error)
	// PidfdSocket is where a pidfd of the init is sent.
	PidfdSocket string
	// ListenFDs are descriptors from 3 on, before the preserved ones, that are
	// passed on as socket activation does it: sd_listen_fds(3).
	ListenFDs int
	// Notify gives the container a socket for sd_notify(3): Container.Notify
	// serves it.
	Notify bool
	// Root is the root file system as a mount that is attached nowhere
	// (fsmount(2), open_tree(2)), instead of what is at root.path. The caller's.
	Root *os.File
}

// Place is where a container has been put.
type Place struct {
	Unit   string // that owns the cgroup, for whoever deletes the container
	Cgroup string // directory of the cgroup
}

// Create makes a container from the bundle in the store at root. Its init then
// waits for Start. It is a child of the calling process.
func Create(ctx context.Context, root, id, bundle string, opt *CreateOptions) (*Container, error) {
	l, err := newLaunch(ctx, root, id, bundle, opt)
	if err != nil {
		return nil, err
	}
	if err := checkConsole(l.spec.Process, true, l.opt.ConsoleSocket); err != nil {
		l.abandon()
		return nil, err
	}
	l.wait = true
	if err := l.run(); err != nil {
		l.abandon()
		return nil, err
	}
	l.close()
	return l.c, nil
}

// Run creates a container and starts it in one go. With a terminal and no
// console socket the terminal's master is the Child's.
func Run(ctx context.Context, root, id, bundle string, opt *CreateOptions) (*Container, *Child, error) {
	l, err := newLaunch(ctx, root, id, bundle, opt)
	if err != nil {
		return nil, nil, err
	}
	if err := checkConsole(l.spec.Process, l.opt.Detach, l.opt.ConsoleSocket); err != nil {
		l.abandon()
		return nil, nil, err
	}
	if l.opt.Notify {
		if l.notify, err = listenNotify(l.c.dir); err != nil {
			l.abandon()
			return nil, nil, err
		}
	}
	if err := l.run(); err != nil {
		l.abandon()
		return nil, nil, err
	}
	ch := &Child{Pid: l.pid, Master: l.term.master, Notify: l.notify}
	if l.spec.Hooks != nil {
		if err := runHooks(ctx, "poststart", l.spec.Hooks.Poststart, l.c.stateAs(specs.StateRunning)); err != nil {
			l.abandon()
			return nil, nil, err
		}
	}
	l.close()
	return l.c, ch, nil
}

// launch is one create or run on its way.
type launch struct {
	ctx    context.Context //nolint:containedctx // of the one call that this value lives for
	opt    CreateOptions
	spec   *specs.Spec
	c      *Container
	cg     cgroup
	ns     namespaces
	mounts []mount
	idmaps []idmapping
	wait   bool // for Start

	prog       *program
	sock       int // our end of the pair that the init talks to us by
	theirs     int // the init's
	listen     int // the socket that Start connects to
	cgroupFD   int
	pid, pidfd int
	root       rootfs
	term       terminal
	cwd, exe   int
	attrs      []attr
	agent      int      // the seccomp agent's socket
	later      []joined // namespaces that the init joins
	notify     int      // the socket of opt.Notify, for a run
	madeCgroup bool
	hooked     bool          // hooks have been run, or would have been
	attached   bool          // the root has been mounted at its path
	filter     filter        // the seccomp filter
	compiled   chan struct{} // closed when filter is there
	fenced     chan struct{} // closed when the rules for devices hold, or fenceErr says why not
	fenceErr   error
	asked      chan func() // work for a thread in the host's namespaces
}

// maxHanded is how many descriptors proceed may send, maxLater how many
// namespaces the init joins at most.
const (
	maxHanded = 7
	maxLater  = 4
)

// notCloned are the namespaces that clone3 does not make: the cgroup namespace
// would begin at the parent's cgroup, since copy_namespaces runs before the
// move to the leaf, and the time namespace's offsets could not be set any more.
const notCloned = unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// The init's descriptors: the standard three and the preserved ones, then
// these. See doc.go.
func (l *launch) sockFD() int   { return 3 + l.opt.PreserveFDs }
func (l *launch) listenFD() int { return l.sockFD() + 1 }
func (l *launch) freeFD() int {
	if l.wait {
		return l.sockFD() + 2
	}
	return l.sockFD() + 1
}

// newLaunch reads the configuration and makes the container's directory.
func newLaunch(ctx context.Context, root, id, bundle string, opt *CreateOptions) (*launch, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	l := &launch{ctx: ctx, sock: -1, theirs: -1, listen: -1, cgroupFD: -1, pidfd: -1, cwd: -1, exe: -1, notify: -1, agent: -1,
		root: rootfs{fd: -1, proc: -1}, term: terminal{-1, -1, ""}}
	if opt != nil {
		l.opt = *opt
	}
	bundle, err := filepath.Abs(bundle)
	if err != nil {
		return nil, err
	}
	config, err := readFile(filepath.Join(bundle, configFile))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Join(bundle, configFile), err)
	}
	if l.spec, err = LoadSpec(config); err != nil {
		return nil, err
	}
	if l.opt.ListenFDs > 0 {
		l.spec.Process.Env = append(l.spec.Process.Env, "LISTEN_FDS="+strconv.Itoa(l.opt.ListenFDs), "LISTEN_PID=1")
		l.opt.PreserveFDs += l.opt.ListenFDs
	}
	if l.opt.Notify {
		addNotify(l.spec, filepath.Join(root, id))
	}
	rootPath := l.spec.Root.Path
	if !filepath.IsAbs(rootPath) {
		rootPath = filepath.Join(bundle, rootPath)
	}
	l.ns = namespacesOf(l.spec)
	if err := l.supported(); err != nil {
		return nil, err
	}
	if l.mounts, err = planMounts(l.spec, l.ns, bundle); err != nil {
		return nil, err
	}
	if l.opt.Place == nil {
		if l.cg, err = cgroupFor(l.spec.Linux.CgroupsPath, id); err != nil {
			return nil, err
		}
	}
	bindCgroups(l.mounts, l.ns, l.cg.dir)
	if label := l.spec.Linux.MountLabel; label != "" {
		labelMounts(l.mounts, label)
	}
	c := &Container{dir: filepath.Join(root, id), rec: record{
		Version: specs.Version, ID: id, Bundle: bundle, Rootfs: rootPath, Cgroup: l.cg.dir,
		Namespaces: l.ns.all(), Hooks: l.spec.Hooks != nil, Annotations: l.spec.Annotations,
		Mounted: l.ns.fresh&unix.CLONE_NEWNS == 0, Chroot: l.ns.fresh&unix.CLONE_NEWNS == 0 || l.opt.NoPivot,
	}}
	err = unix.Mkdir(c.dir, 0o711)
	if err == unix.ENOENT {
		if err := os.MkdirAll(root, 0o711); err != nil {
			return nil, fmt.Errorf("create %s: %w", root, err)
		}
		err = unix.Mkdir(c.dir, 0o711)
	}
	if err == unix.EEXIST {
		return nil, fmt.Errorf("container %q: %w", id, ErrExists)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", c.dir, err)
	}
	l.c = c
	if l.opt.Notify {
		if err := makeNotify(c.dir); err != nil {
			l.abandon()
			return nil, err
		}
	}
	if c.rec.Resctrl, err = openResctrl(l.spec.Linux.IntelRdt, id); err != nil {
		l.abandon()
		return nil, err
	}
	if err := writeNew(filepath.Join(c.dir, configFile), config, 0o600); err != nil {
		l.abandon()
		return nil, fmt.Errorf("write %s: %w", configFile, err)
	}
	return l, nil
}

// supported refuses what is asked for and cannot be had, before anything is made.
func (l *launch) supported() error {
	if err := checkLabels(l.spec.Process); err != nil {
		return err
	}
	lin := l.spec.Linux
	if lin.MountLabel != "" {
		if err := needSELinux("linux.mountLabel"); err != nil {
			return err
		}
	}
	if p := lin.RootfsPropagation; l.opt.NoPivot && (p == "private" || p == "rprivate") {
		return fmt.Errorf("rootfsPropagation %s is not safe without pivot_root", p)
	}
	for fd := 3; fd < 3+l.opt.PreserveFDs; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("preserve descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// run takes the container from its directory to the waiting or running init.
func (l *launch) run() error {
	var err error
	if l.madeCgroup, err = l.cg.create(); err != nil {
		return err
	}
	if l.cg.dir != "" {
		if err := l.limit(); err != nil {
			return err
		}
		if l.cgroupFD, err = l.cg.open(); err != nil {
			return err
		}
	}
	if err := l.sockets(); err != nil {
		return err
	}
	if l.prog, err = newProgram(len(l.spec.Mounts)*2048 + stringBytes(l.spec.Process)); err != nil {
		return err
	}
	first := l.begin()
	if notifies(l.spec.Linux.Seccomp) {
		l.c.rec.Listener = &listener{FD: l.freeFD(), Word: l.prog.words(0)}
	}
	l.compiled = make(chan struct{})
	go func() {
		defer close(l.compiled)
		l.filter = newFilter(l.spec.Linux.Seccomp)
	}()

	// The thread that sets the container up is in the container's namespaces
	// afterwards. It is never unlocked, so it ends with the goroutine.
	l.asked = make(chan func())
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- l.setUp(first)
	}()
	for {
		select {
		case f := <-l.asked:
			f()
		case err := <-done:
			if err != nil {
				return err
			}
			return l.await()
		}
	}
}

// limit makes the configuration's limits hold in the cgroup. Its rules for
// devices take a program that the kernel has to check and to compile: that is
// done beside the rest, and waited for before the container's own runs.
func (l *launch) limit() error {
	if !l.opt.Delegated {
		l.cg.enable()
	}
	r := l.spec.Linux.Resources
	if err := l.cg.limit(r, l.opt.Delegated); err != nil {
		return err
	}
	if err := l.cg.giveTo(l.spec); err != nil {
		return err
	}
	if r != nil && len(r.Devices) > 0 {
		l.fenced = make(chan struct{})
		go func() {
			defer close(l.fenced)
			l.fenceErr = l.cg.allowDevices(r.Devices)
		}()
	}
	return nil
}

// awaitFence waits until the rules for devices hold.
func (l *launch) awaitFence() error {
	if l.fenced != nil {
		<-l.fenced
	}
	return l.fenceErr
}

// put has the caller's Place make the cgroup around a process.
func (l *launch) put(pid int) error {
	at, err := l.opt.Place(l.c.rec.ID, l.spec, pid)
	if err != nil {
		return err
	}
	l.cg = cgroup{at.Cgroup}
	l.c.rec.Cgroup, l.c.rec.Unit = at.Cgroup, at.Unit
	return l.limit()
}

// place puts the init, which waits for that, into its cgroup.
func (l *launch) place() error {
	if err := l.put(l.pid); err != nil {
		return err
	}
	if err := unix.Send(l.sock, []byte{1}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("start container's init: %w", err)
	}
	return nil
}

// onHost runs f on a thread that is still in the host's namespaces.
func (l *launch) onHost(f func() error) error {
	res := make(chan error, 1)
	l.asked <- func() { res <- f() }
	return <-res
}

// sockets makes the pair to the init and, for a container that waits, the
// socket that Start connects to. Their numbers are above all that the init
// assigns, so that it can put them in their places in any order.
func (l *launch) sockets() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	l.sock = pair[0]
	l.theirs, err = moveUp(pair[1], l.freeFD()+maxLater)
	if err != nil {
		return err
	}
	for _, j := range l.ns.later() {
		fd, err := unix.Open(j.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open namespace %s: %w", j.path, err)
		}
		if j.fd, err = moveUp(fd, l.freeFD()+maxLater); err != nil {
			return err
		}
		l.later = append(l.later, j)
	}
	if !l.wait {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make start socket: %w", err)
	}
	if l.listen, err = moveUp(fd, l.freeFD()+maxLater); err != nil {
		return err
	}
	return atSocket(l.c.dir, func(addr *unix.SockaddrUnix) error {
		if err := unix.Bind(l.listen, addr); err != nil {
			return fmt.Errorf("bind start socket: %w", err)
		}
		return unix.Listen(l.listen, 1)
	})
}

// moveUp moves a descriptor to a number that is at least low.
func moveUp(fd, low int) (int, error) {
	defer unix.Close(fd)
	up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, low)
	if err != nil {
		return -1, fmt.Errorf("duplicate descriptor: %w", err)
	}
	return up, nil
}

// atSocket gives f the address of the start socket in dir, short enough for
// the 108 bytes of sockaddr_un whatever dir is.
func atSocket(dir string, f func(*unix.SockaddrUnix) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return f(&unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(fd) + "/" + startFile})
}

// begin writes the part of the init's program that is known before the init
// exists, and returns where it begins.
func (l *launch) begin() uint64 {
	p, sock, free := l.prog, l.sockFD(), l.freeFD()
	p.onFailure(sock)
	first := p.here()
	p.add("place descriptor", unix.SYS_DUP3, uint64(l.theirs), uint64(sock), unix.O_CLOEXEC)
	if l.wait {
		p.add("place descriptor", unix.SYS_DUP3, uint64(l.listen), uint64(l.listenFD()), unix.O_CLOEXEC)
	}
	if l.opt.Place != nil {
		p.recvGo(sock) // it has its cgroup
	}
	for i, j := range l.later {
		p.add("place descriptor", unix.SYS_DUP3, uint64(j.fd), uint64(free+i), unix.O_CLOEXEC)
	}
	p.add("close descriptors", unix.SYS_CLOSE_RANGE, uint64(free+len(l.later)), 1<<32-1, 0)
	p.discard()
	for i, j := range l.later {
		p.add("join namespace "+j.path, unix.SYS_SETNS, uint64(free+i), j.flag)
		p.add("", unix.SYS_CLOSE, uint64(free+i))
	}
	if l.ns.joins(unix.CLONE_NEWUSER) {
		l.cloneAgain()
	}
	if l.ns.joins(unix.CLONE_NEWPID) {
		// Others can see the init: see entry.write.
		p.add("", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0).flags = anyError
	}
	if l.ns.fresh&unix.CLONE_NEWUSER != 0 {
		p.recvGo(sock) // the mappings are written
		p.add("become root of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
		p.add("become root of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
	}
	if l.ns.fresh&unix.CLONE_NEWCGROUP != 0 {
		p.add("unshare cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	for i := range l.mounts {
		if l.mounts[i].child {
			l.mounts[i].makeByChild(p, sock, free)
		}
	}
	p.recvFDs(sock, maxHanded)
	return first
}

// cloneAgain adds the steps of an init whose user namespace exists already. What
// it makes has to belong to that namespace, so it has joined first and makes its
// other namespaces after; a pid namespace takes another clone. CLONE_PARENT
// makes the second process ours too, and the first, having sent its pidfd, ends.
func (l *launch) cloneAgain() {
	p, sock := l.prog, l.sockFD()
	p.add("become root of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
	p.add("become root of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
	p.cloneAgain(sock, l.ns.fresh&^notCloned)
	p.recvGo(sock) // the pidfd was received: nothing of ours may come before it
}

// proceed writes the rest of the program and sends the descriptors for it.
func (l *launch) proceed(cmd command, env []string) error {
	p, free := l.prog, l.freeFD()
	fds := []int{l.cwd}
	next := free
	if l.c.rec.Chroot {
		fds = append(fds, l.root.fd)
		next++
		p.changeRoot(next)
	}
	p.add("change directory to "+l.spec.Process.Cwd, unix.SYS_FCHDIR, uint64(free))
	p.add("", unix.SYS_SETSID).flags = anyError
	if l.term.slave >= 0 {
		fds = append(fds, l.term.slave)
		next++
		for fd := range uint64(3) {
			p.add("set terminal", unix.SYS_DUP3, uint64(next), fd, 0)
		}
		p.add("set controlling terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	} else if null := l.ownNull(); null >= 0 {
		defer unix.Close(null)
		fds = append(fds, null)
		next++
		for fd := range 3 {
			if isNull(fd) {
				p.add("set descriptor", unix.SYS_DUP3, uint64(next), uint64(fd), 0)
			}
		}
	}
	if l.exe >= 0 {
		fds = append(fds, l.exe)
		next++
		p.becomeFile(next)
	}
	for _, a := range l.attrs {
		fds = append(fds, a.fd)
	}
	p.attrs(l.attrs, next+1)
	p.add("close descriptors", unix.SYS_CLOSE_RANGE, uint64(free), 1<<32-1, 0)
	id := identity{process: l.spec.Process, linux: l.spec.Linux, command: cmd, env: env, userns: l.ns.all()&unix.CLONE_NEWUSER != 0}
	if !l.opt.NoNewKeyring {
		id.keyring = "_ses." + l.c.rec.ID
	}
	<-l.compiled
	if l.filter.err != nil {
		return l.filter.err
	}
	if err := l.awaitFence(); err != nil {
		return err
	}
	id.filter, id.flags, id.sock = l.filter.code, l.filter.flags, l.sockFD()
	if n := l.c.rec.Listener; n != nil {
		id.word = n.Word
		if !l.wait {
			err := l.onHost(func() (err error) { l.agent, err = dialAgent(l.spec.Linux.Seccomp); return err })
			if err != nil {
				return err
			}
		}
	}
	if n := nofile.AtStart(); n.Max != 0 {
		id.nofile = &unix.Rlimit{Cur: n.Cur, Max: n.Max}
	}
	if err := id.prepare(p); err != nil {
		return err
	}
	if l.wait {
		l.awaitStart()
	}
	id.finish(p)
	return unix.Sendmsg(l.sock, make([]byte, 8), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
}

// ownNull opens the container's /dev/null if one of the standard descriptors is
// the host's, which lies on a mount that the container does not have: then it
// could not be checkpointed. Without one of its own, the host's stays.
func (l *launch) ownNull() int {
	if !isNull(0) && !isNull(1) && !isNull(2) {
		return -1
	}
	fd, err := l.root.open("/dev/null", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1
	}
	if !isNull(fd) {
		unix.Close(fd)
		return -1
	}
	// O_NONBLOCK was in case it is a fifo.
	unix.SetNonblock(fd, false) //nolint:errcheck // null never blocks
	return fd
}

func isNull(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// awaitStart adds the steps with which the init tells that it is ready and
// waits on the start socket. A Start that dies before it says go is forgotten.
func (l *launch) awaitStart() {
	p, sock := l.prog, uint64(l.sockFD())
	zero := p.words(0)
	p.add("", unix.SYS_SENDTO, sock, zero, 8, unix.MSG_NOSIGNAL, 0, 0).flags = anyError
	p.add("", unix.SYS_CLOSE, sock)
	// The connection gets the number that was the pair's: failures go there now.
	accept := p.here()
	s := p.add("accept start", unix.SYS_ACCEPT4, uint64(l.listenFD()), 0, 0, unix.SOCK_CLOEXEC)
	s.ok(unix.ECONNABORTED)
	s.next = accept
	recv := p.add("", unix.SYS_RECVFROM, sock, p.words(0), 8, 0, 0, 0)
	recv.flags = anyError | jumpZero
	on := p.add("", unix.SYS_GETPID)
	on.flags = jumpPositive
	recv.next = p.here()
	again := p.add("", unix.SYS_CLOSE, sock)
	again.flags, again.next = jumpZero, accept
	on.next = p.here()
}

// await waits until the init waits for its start, or has been started, and
// writes the record.
func (l *launch) await() error {
	if n := l.c.rec.Listener; n != nil && !l.wait {
		if err := told(l.sock); err != nil {
			return err
		}
		if err := n.deliver(l.agent, l.sock, l.pid, l.pidfd, l.spec.Linux.Seccomp, l.created()); err != nil {
			return err
		}
	}
	msg, fds, err := receive(l.sock)
	closeAll(fds)
	if err != nil {
		return err
	}
	if l.wait && msg == nil {
		return errors.New("container's init ended before its start")
	}
	return nil
}

// save writes the record and the pid file.
func (l *launch) save() error {
	_, started, err := processStat(l.pid)
	if err != nil {
		return fmt.Errorf("read start time of %d: %w", l.pid, err)
	}
	l.c.rec.Pid, l.c.rec.StartTime, l.c.rec.Created = l.pid, started, time.Now().UTC()
	b, err := json.Marshal(&l.c.rec)
	if err != nil {
		return err
	}
	if err := writeAtomic(filepath.Join(l.c.dir, stateFile), b, 0o600); err != nil {
		return err
	}
	if l.opt.PidfdSocket != "" {
		if err := sendPidfd(l.opt.PidfdSocket, l.pidfd); err != nil {
			return err
		}
	}
	return writePidFile(l.opt.PidFile, l.pid)
}

func writePidFile(path string, pid int) error {
	if path == "" {
		return nil
	}
	return writeAtomic(path, []byte(strconv.Itoa(pid)), 0o644)
}

// close releases what the launch itself held.
func (l *launch) close() {
	if l.compiled != nil {
		<-l.compiled
	}
	if l.fenced != nil {
		<-l.fenced
	}
	closeSources(l.mounts)
	for _, fd := range []*int{&l.sock, &l.theirs, &l.listen, &l.cgroupFD, &l.pidfd, &l.root.fd, &l.root.proc, &l.term.slave, &l.cwd, &l.exe, &l.agent} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	for _, j := range l.later {
		unix.Close(j.fd)
	}
	for _, i := range l.idmaps {
		unix.Close(i.fd)
	}
	closeAttrs(l.attrs)
	l.later, l.idmaps, l.attrs = nil, nil, nil
	if l.prog != nil {
		l.prog.close()
		l.prog = nil
	}
}

// abandon undoes a launch that failed.
func (l *launch) abandon() {
	if l.pid > 0 {
		unix.Kill(l.pid, unix.SIGKILL)
		reap(l.pid)
	}
	if l.term.master >= 0 {
		unix.Close(l.term.master)
	}
	if l.notify >= 0 {
		unix.Close(l.notify)
	}
	l.close()
	if l.c != nil && l.c.rec.Mounted && l.attached {
		l.c.unmountRoot(l.spec) //nolint:errcheck // the launch's own error is the one to tell
	}
	if l.madeCgroup {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), 5*time.Second)
		l.cg.remove(ctx) //nolint:errcheck // the launch's own error is the one to tell
		cancel()
	}
	if l.c != nil {
		l.c.rec.Resctrl.remove() //nolint:errcheck // as above
		removeDir(l.c.dir)
	}
	if l.hooked && l.spec.Hooks != nil {
		// The lifecycle goes on at its end.
		runPostStop(context.WithoutCancel(l.ctx), l.spec.Hooks.Poststop, l.c.stateAs(specs.StateStopped)) //nolint:errcheck // as above
	}
}

// removeDir removes a container's directory and the files in it.
func removeDir(dir string) error {
	for _, f := range []string{startFile, stateFile, configFile} {
		unix.Unlink(filepath.Join(dir, f))
	}
	if err := unix.Rmdir(dir); err == nil || err == unix.ENOENT {
		return nil
	}
	return os.RemoveAll(dir)
}

// receive takes one message: a failure, descriptors, or the end.
func receive(sock int) (msg []byte, fds []int, err error) {
	buf, ctl := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	var n, cn int
	for {
		n, cn, _, _, err = unix.Recvmsg(sock, buf, ctl, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.ECONNRESET {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("receive from init: %w", err)
	}
	if cn > 0 {
		list, err := unix.ParseSocketControlMessage(ctl[:cn])
		if err != nil {
			return nil, nil, err
		}
		for i := range list {
			if f, err := unix.ParseUnixRights(&list[i]); err == nil {
				fds = append(fds, f...)
			}
		}
	}
	if n < 8 {
		return nil, fds, nil
	}
	if errno := unix.Errno(buf[0]) | unix.Errno(buf[1])<<8; errno != 0 {
		closeAll(fds)
		return nil, nil, initError(string(buf[8:n]), errno)
	}
	return buf[:n], fds, nil
}

// initError words what the init reports.
func initError(text string, errno unix.Errno) error {
	if name, ok := strings.CutPrefix(text, "exec: "); ok {
		if n, err := strconv.Unquote(name); err == nil {
			name = n
		}
		switch errno {
		case unix.EACCES, unix.EPERM:
			return &execError{name, ErrNotExecutable}
		}
		return &execError{name, errno}
	}
	if errno == unix.ENOSYS {
		return &UnsupportedError{Feature: text}
	}
	return fmt.Errorf("%s: %w", text, errno)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

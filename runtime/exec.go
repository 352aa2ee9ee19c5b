package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/berthrun/berth/runtime/internal/nofile"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions are the parts of exec that are not in the process's description.
type ExecOptions struct {
	PidFile       string
	ConsoleSocket string
	PreserveFDs   int
	// Detach says that nobody will attend the process: a terminal needs a
	// console socket then.
	Detach bool
	// PidfdSocket is where a pidfd of the process is sent.
	PidfdSocket string
	// Cgroup is a cgroup below the container's for the process.
	Cgroup string
}

// Process is the configuration's process without what is the init's alone: a
// base for the process of an Exec.
func (c *Container) Process() (*specs.Process, error) {
	s, err := c.spec()
	if err != nil {
		return nil, err
	}
	return s.Process, nil
}

// Exec starts one more process in a container that runs or waits for its start.
func (c *Container) Exec(ctx context.Context, process *specs.Process, opt *ExecOptions) (*Child, error) {
	if err := checkProcess(process); err != nil {
		return nil, err
	}
	e := &entry{ctx: ctx, c: c, process: process, sock: -1, theirs: -1, initFD: -1, cgroupFD: -1, cwd: -1, exe: -1, pidfd: -1, agent: -1,
		root: rootfs{fd: -1}, term: terminal{-1, -1, ""}}
	if opt != nil {
		e.opt = *opt
	}
	if err := checkConsole(process, e.opt.Detach, e.opt.ConsoleSocket); err != nil {
		return nil, err
	}
	defer e.close()
	if err := e.run(); err != nil {
		if e.pid > 0 {
			unix.Kill(e.pid, unix.SIGKILL)
			reap(e.pid) //nolint:errcheck // the failure itself is the one to tell
		}
		return nil, err
	}
	ch := &Child{Pid: e.pid, Master: e.term.master, Notify: -1}
	e.term.master = -1
	return ch, nil
}

func errNoConsole() error {
	return errors.New("cannot allocate tty if the runtime will detach without setting console socket")
}

// checkConsole checks that a terminal's master has somewhere to go.
func checkConsole(p *specs.Process, detach bool, socket string) error {
	switch {
	case detach && p.Terminal && socket == "":
		return errNoConsole()
	case (!detach || !p.Terminal) && socket != "":
		return errors.New("cannot use console socket if the runtime will not detach or allocate tty")
	}
	return nil
}

// entry is one exec on its way.
type entry struct {
	ctx     context.Context //nolint:containedctx // of the one call that this value lives for
	opt     ExecOptions
	c       *Container
	process *specs.Process
	prog    *program
	root    rootfs
	term    terminal

	initFD, cgroupFD, cwd, exe int
	sock, theirs               int
	pid, pidfd                 int
	attrs                      []attr
	agent                      int // the seccomp agent's socket
	listener                   *listener
	told                       bool // that the filter is about to be loaded
}

// scheduled says that the process waits for what can be done for it only once it is
// there.
func (e *entry) scheduled() bool {
	return e.process.Scheduler != nil || e.process.IOPriority != nil || e.c.rec.Resctrl != nil
}

// sendAttrs hands over what the process writes to its attributes.
func (e *entry) sendAttrs() error {
	if err := openAttrs(e.pid, e.attrs); err != nil {
		return err
	}
	fds := make([]int, 0, len(e.attrs))
	for _, a := range e.attrs {
		fds = append(fds, a.fd)
	}
	if err := unix.Sendmsg(e.sock, make([]byte, 8), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("start process: %w", err)
	}
	return nil
}

// likeInit gives a process the container's own labels and priorities where it
// says nothing of them.
func likeInit(process, base *specs.Process) *specs.Process {
	p := *process
	if p.ApparmorProfile == "" {
		p.ApparmorProfile = base.ApparmorProfile
	}
	if p.SelinuxLabel == "" {
		p.SelinuxLabel = base.SelinuxLabel
	}
	if p.Scheduler == nil {
		p.Scheduler = base.Scheduler
	}
	if p.IOPriority == nil {
		p.IOPriority = base.IOPriority
	}
	if p.ExecCPUAffinity == nil {
		p.ExecCPUAffinity = base.ExecCPUAffinity
	}
	return &p
}

func (e *entry) close() {
	for _, fd := range []*int{&e.sock, &e.theirs, &e.initFD, &e.cgroupFD, &e.cwd, &e.exe, &e.pidfd, &e.root.fd, &e.term.master, &e.term.slave, &e.agent} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
	closeAttrs(e.attrs)
	if e.prog != nil {
		e.prog.close()
		e.prog = nil
	}
}

func (e *entry) run() error {
	for fd := 3; fd < 3+e.opt.PreserveFDs; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("preserve descriptor %d: %w", fd, err)
		}
	}
	var err error
	if e.initFD, err = e.c.pidfd(); err != nil {
		return fmt.Errorf("cannot exec in a stopped container: %w", err)
	}
	spec, err := e.c.spec()
	if err != nil {
		return err
	}
	e.process = likeInit(e.process, spec.Process)
	e.attrs = attrsOf(e.process)
	if err := checkLabels(e.process); err != nil {
		return err
	}
	// The pidfd, held since before, makes sure that this is still the init.
	path := "/proc/" + strconv.Itoa(e.c.rec.Pid) + "/root"
	if e.root.fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	if err := unix.PidfdSendSignal(e.initFD, 0, nil, 0); err != nil {
		return fmt.Errorf("cannot exec in a stopped container: %w", ErrStopped)
	}
	cmd, err := e.root.lookup(e.process)
	if err != nil {
		return err
	}
	if e.cwd, err = e.root.open(e.process.Cwd, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return fmt.Errorf("change directory to %s: %w", e.process.Cwd, err)
	}
	e.exe = openProgram(e.root, e.process, cmd)
	if err := e.terminal(spec); err != nil {
		return err
	}
	if e.c.rec.Cgroup != "" {
		if e.cgroupFD, err = e.c.subCgroup(e.opt.Cgroup).open(); err != nil {
			return err
		}
	}
	if e.prog, err = newProgram(stringBytes(e.process)); err != nil {
		return err
	}
	first, err := e.write(spec, cmd)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: its signals are blocked
		done <- e.clone(first)
	}()
	if err := <-done; err != nil {
		return err
	}
	return e.await(spec)
}

// terminal makes the process's terminal in the container's devpts.
func (e *entry) terminal(spec *specs.Spec) error {
	if !e.process.Terminal {
		return nil
	}
	var err error
	uid := hostOr(spec.Linux.UIDMappings, e.process.User.UID)
	if e.term, err = openTerminal(e.root, uid, -1, e.process.ConsoleSize); err != nil {
		return err
	}
	if e.opt.ConsoleSocket == "" {
		return nil
	}
	err = sendTerminal(e.opt.ConsoleSocket, e.term)
	unix.Close(e.term.master)
	e.term.master = -1
	return err
}

// write writes the whole program of the process. Its descriptors from sock on:
// the pair's end, the init's pidfd, then cwd, slave and program.
//
// It takes two processes. The first one is not in the container's pid namespace:
// nobody in the container sees it throw away what is the runtime's and the
// host's, join, and drop its rights. The second, its clone, is born there when
// nothing is left to take: its memory is the program's, its root, its binary and
// its descriptors, but for the pair's end, are the container's. A container with
// CAP_SYS_PTRACE can have all of that and no more (CVE-2016-9962); one without
// cannot have it even where user and capabilities are equal, which would be a
// process without the seccomp filter.
//
// A filter without no_new_privs needs CAP_SYS_ADMIN to be loaded, and it may
// forbid the clone: in this case alone the rights go after it, and CAP_SYS_PTRACE
// in the user namespace that the container is in reaches further than it should.
func (e *entry) write(spec *specs.Spec, cmd command) (first uint64, err error) {
	sock := 3 + e.opt.PreserveFDs
	places := []*int{&e.theirs, &e.initFD, &e.cwd}
	slave, exe, root := -1, -1, -1
	if e.term.slave >= 0 {
		slave = sock + len(places)
		places = append(places, &e.term.slave)
	}
	if e.exe >= 0 {
		exe = sock + len(places)
		places = append(places, &e.exe)
	}
	if e.c.rec.Chroot {
		root = sock + len(places)
		places = append(places, &e.root.fd)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket pair: %w", err)
	}
	e.sock, e.theirs = pair[0], pair[1]
	p := e.prog
	p.onFailure(sock)
	first = p.here()
	for i, fd := range places {
		if *fd, err = moveUp(*fd, sock+len(places)); err != nil {
			return 0, err
		}
		p.add("place descriptor", unix.SYS_DUP3, uint64(*fd), uint64(sock+i), unix.O_CLOEXEC)
	}
	p.add("close descriptors", unix.SYS_CLOSE_RANGE, uint64(sock+len(places)), 1<<32-1, 0)
	p.discard()
	if exe >= 0 {
		p.becomeFile(exe)
	}
	user := e.c.rec.Namespaces&unix.CLONE_NEWUSER != 0
	if user {
		p.recvGo(sock) // the hard limits are raised
	}
	if ns := e.c.rec.Namespaces; ns != 0 {
		p.add("join namespaces", unix.SYS_SETNS, uint64(sock+1), ns)
	}
	p.add("", unix.SYS_CLOSE, uint64(sock+1))
	if user {
		p.add("become root of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
		p.add("become root of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
		if exe >= 0 {
			p.becomeFile(exe)
		}
	}
	// Not even a process of the same user and rights may have it before its
	// program runs: its filter is loaded last.
	p.add("", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0).flags = anyError
	id := identity{process: e.process, linux: spec.Linux, command: cmd, userns: user, twice: true}
	id.env = processEnv(e.process, e.root.home(e.process.User.UID))
	if n := nofile.AtStart(); n.Max != 0 {
		id.nofile = &unix.Rlimit{Cur: n.Cur, Max: n.Max}
	}
	if id.filter, id.flags, err = compileSeccomp(spec.Linux.Seccomp); err != nil {
		return 0, err
	}
	// Its rights go before it is born, unless the filter needs them.
	early := id.filter == nil || e.process.NoNewPrivileges
	if err := id.prepare(p); err != nil {
		return 0, err
	}
	if root >= 0 {
		p.changeRoot(root)
	}
	p.add("change directory to "+e.process.Cwd, unix.SYS_FCHDIR, uint64(sock+2))
	if early {
		id.drop(p)
	}
	p.cloneAgain(sock, 0)
	p.add("", unix.SYS_SETSID).flags = anyError
	if slave >= 0 {
		for fd := range uint64(3) {
			p.add("set terminal", unix.SYS_DUP3, uint64(slave), fd, 0)
		}
		p.add("set controlling terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	p.add("close descriptors", unix.SYS_CLOSE_RANGE, uint64(sock+1), 1<<32-1, 0)
	if e.scheduled() {
		p.recvGo(sock) // the priorities are set
	}
	if len(e.attrs) > 0 {
		p.recvFDs(sock, len(e.attrs))
		p.attrs(e.attrs, sock+1)
		p.add("close descriptors", unix.SYS_CLOSE_RANGE, uint64(sock+1), 1<<32-1, 0)
	}
	if a := e.process.ExecCPUAffinity; a != nil {
		if err := p.affinity(a.Final); err != nil {
			return 0, err
		}
	}
	if notifies(spec.Linux.Seccomp) {
		e.listener = &listener{FD: sock + 1, Word: p.words(0)}
		id.sock, id.word = sock, e.listener.Word
		if e.agent, err = dialAgent(spec.Linux.Seccomp); err != nil {
			return 0, err
		}
	}
	id.dropped = early
	id.finish(p)
	return first, nil
}

// clone starts the first process, in the container's cgroup.
func (e *entry) clone(first uint64) error {
	if err := blockSignals(); err != nil {
		return err
	}
	if a := e.process.ExecCPUAffinity; a != nil {
		if err := setAffinity(a.Initial); err != nil {
			return err
		}
	}
	pidfd := e.prog.words(0)
	args := cloneArgs{flags: unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD), pidfd: pidfd}
	if e.cgroupFD >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(e.cgroupFD)
	}
	pid, err := e.prog.clone(&args, first)
	if err == unix.EBUSY && e.opt.Cgroup == "" {
		// The container has divided its cgroup (a systemd inside does), and
		// nobody may be above the leaves: beside its init, then.
		if err := e.besideInit(); err != nil {
			return err
		}
		args.cgroup = uint64(e.cgroupFD)
		pid, err = e.prog.clone(&args, first)
	}
	if err != nil {
		return fmt.Errorf("clone process: %w", err)
	}
	e.pid, e.pidfd = pid, int(e.prog.load32(pidfd))
	unix.Close(e.theirs)
	e.theirs = -1
	if e.c.rec.Namespaces&unix.CLONE_NEWUSER != 0 {
		if err := raiseLimits(e.pid, e.process.Rlimits); err != nil {
			return err
		}
		if err := unix.Send(e.sock, []byte{1}, unix.MSG_NOSIGNAL); err != nil {
			return fmt.Errorf("start process: %w", err)
		}
	}
	return e.second()
}

// second takes over the second process, whose pidfd the first sends. What the
// second has to report can be faster.
func (e *entry) second() error {
	var failed error
	for {
		msg, fds, err := receive(e.sock)
		if len(fds) == 1 {
			reap(e.pid) //nolint:errcheck // it ends in any case
			unix.Close(e.pidfd)
			e.pid, e.pidfd = 0, fds[0]
			pid, err := pidOf(e.pidfd)
			if err != nil {
				return errors.Join(failed, err)
			}
			e.pid = pid
			return failed
		}
		closeAll(fds)
		switch {
		case err != nil:
			failed = err
		case msg == nil && failed != nil:
			return failed
		case msg == nil:
			return errors.New("enter container: the process ended")
		default:
			e.told = true
		}
	}
}

// besideInit opens the cgroup that the init is in now.
func (e *entry) besideInit() error {
	p, err := cgroupOf(strconv.Itoa(e.c.rec.Pid))
	if err != nil {
		return err
	}
	fd, err := (cgroup{filepath.Join(cgroupMount(), p)}).open()
	if err != nil {
		return err
	}
	unix.Close(e.cgroupFD)
	e.cgroupFD = fd
	return nil
}

// await waits for the process's execve.
func (e *entry) await(spec *specs.Spec) error {
	if e.scheduled() {
		if err := schedule(e.pid, e.process); err != nil {
			return err
		}
		if r := e.c.rec.Resctrl; r != nil {
			if err := r.add(e.pid); err != nil {
				return err
			}
		}
		if err := unix.Send(e.sock, []byte{1}, unix.MSG_NOSIGNAL); err != nil {
			return fmt.Errorf("start process: %w", err)
		}
	}
	if len(e.attrs) > 0 {
		if err := e.sendAttrs(); err != nil {
			return err
		}
	}
	score := e.process.OOMScoreAdj
	if score == nil && spec.Process != nil {
		score = spec.Process.OOMScoreAdj
	}
	if score != nil {
		l := launch{pid: e.pid}
		if err := l.writeProc("oom_score_adj", strconv.Itoa(*score)); err != nil {
			return err
		}
	}
	if e.listener != nil {
		if !e.told {
			if err := told(e.sock); err != nil {
				return err
			}
		}
		if err := e.listener.deliver(e.agent, e.sock, e.pid, e.pidfd, spec.Linux.Seccomp, e.c.State()); err != nil {
			return err
		}
	}
	_, fds, err := receive(e.sock)
	closeAll(fds)
	if err != nil {
		return err
	}
	if e.opt.PidfdSocket != "" {
		if err := sendPidfd(e.opt.PidfdSocket, e.pidfd); err != nil {
			return err
		}
	}
	return writePidFile(e.opt.PidFile, e.pid)
}

// subCgroup is a cgroup below the container's: no ".." leads out of it.
func (c *Container) subCgroup(path string) cgroup {
	return cgroup{filepath.Join(c.rec.Cgroup, filepath.Join("/", path))}
}

// ProcessLike makes the description of a process that is run with the args
// beside another one, as exec without a --process file does it: with its
// environment, directory, user and rights.
func ProcessLike(base *specs.Process, args []string) *specs.Process {
	p := *base
	p.Args = args
	p.Env = slices.Clone(base.Env)
	p.Terminal, p.ConsoleSize = false, nil
	p.CommandLine = ""
	if c := base.Capabilities; c != nil {
		caps := *c
		p.Capabilities = &caps
	}
	return &p
}

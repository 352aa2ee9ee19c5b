package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// command is what runs in a box.
type command struct {
	Args   []string
	Env    []string   // on top of a clean environment
	TTY    bool       // on a new terminal of the box
	Files  []*os.File // inherited from descriptor 3 on
	Stdout io.Writer  // nil: ours
}

func execVerb(args []string) error {
	var c command
	fl := flag.NewFlagSet("box exec", flag.ContinueOnError)
	fl.SetOutput(io.Discard)
	fl.BoolVar(&c.TTY, "t", false, "")
	fl.Func("e", "", func(s string) error { c.Env = append(c.Env, s); return nil })
	if err := fl.Parse(args); err != nil {
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	if fl.NArg() < 2 {
		return errUsage
	}
	b, err := load(fl.Arg(0))
	if err != nil {
		return err
	}
	c.Args = fl.Args()[1:]
	return b.exec(c)
}

// exec runs a command in the box's namespaces and cgroup, with our stdio. Signals that we get, it gets.
func (b *box) exec(c command) error {
	if !b.alive() {
		return fmt.Errorf("box %s is not running (box kill %s removes it)", b.Name, b.Name)
	}
	cmd := &exec.Cmd{Args: c.Args, Dir: "/root", Env: c.environ(), ExtraFiles: c.Files}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	// No Pdeathsig: os/exec takes the foreign parent, pid 0 in there, for one that has died.
	cmd.SysProcAttr = &syscall.SysProcAttr{}

	// Caught before the start: a signal in between would end us and leave the command behind.
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)

	ended := make(chan error, 1)
	started := make(chan *os.File, 1)
	go func() {
		// Namespaces are the thread's; it is never unlocked, so it ends with this goroutine and nobody inherits them.
		runtime.LockOSThread()
		pty, err := b.startInside(cmd, c.TTY)
		if err != nil {
			ended <- err
			return
		}
		started <- pty
		ended <- cmd.Wait()
	}()
	var terminal *terminal
	for {
		select {
		case pty := <-started:
			if pty != nil {
				terminal = attach(pty)
				defer terminal.restore()
			}
			started = nil
		case s := <-signals:
			if s == unix.SIGWINCH {
				terminal.resize()
			} else if started == nil && !c.fromTerminal(s) {
				cmd.Process.Signal(s)
			}
		case err := <-ended:
			terminal.drain()
			return status(err)
		}
	}
}

// fromTerminal: the terminal sends these to the whole foreground process group, the command included.
func (c *command) fromTerminal(s os.Signal) bool {
	return !c.TTY && (s == unix.SIGINT || s == unix.SIGQUIT) && term.IsTerminal(int(os.Stdin.Fd()))
}

func (c *command) environ() []string {
	env := []string{
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if t := os.Getenv("TERM"); t != "" && t != "dumb" {
		env = append(env, "TERM="+t)
	} else {
		env = append(env, "TERM=xterm")
	}
	return append(env, c.Env...)
}

// startInside enters the box with this thread and starts cmd there; it returns the master of the command's terminal,
// if it has one.
func (b *box) startInside(cmd *exec.Cmd, tty bool) (*os.File, error) {
	pidfd, err := unix.PidfdOpen(b.Pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open pid %d: %w", b.Pid, err)
	}
	defer unix.Close(pidfd)
	if !b.alive() { // the pid may have changed hands before the descriptor held it
		return nil, fmt.Errorf("box %s is not running", b.Name)
	}
	leave, err := b.visitCgroup()
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := freshLimits(); err != nil {
		return nil, fmt.Errorf("set limits: %w", err)
	}
	// setns of a mount namespace refuses a thread that shares its root and working directory with others.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, err
	}
	err = unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWNET|unix.CLONE_NEWCGROUP)
	if err != nil {
		return nil, fmt.Errorf("enter box %s: %w", b.Name, err)
	}
	if cmd.Path, err = lookPath(cmd.Args[0]); err != nil {
		return nil, err
	}
	if st, err := os.Stat(cmd.Dir); err != nil || !st.IsDir() {
		cmd.Dir = "/"
	}
	if !tty {
		return nil, cmd.Start()
	}
	pty, peer, err := openTerminal()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = peer, peer, peer
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		pty.Close()
		return nil, err
	}
	return pty, nil
}

// visitCgroup moves this process to the box's exec leaf, so that what it forks starts there, and returns the way back.
// clone3's CLONE_INTO_CGROUP would be neater, but with cgroup2's nsdelegate the kernel refuses it to who is in
// the box's cgroup namespace, and who is not, cannot put a child into that.
func (b *box) visitCgroup() (leave func(), err error) {
	leaf := filepath.Join(b.Cgroup, execLeaf)
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return nil, err
	}
	home, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	// Opened now: the kernel judges a write by the namespace that opened the file (since Linux 5.16).
	back, err := os.OpenFile(filepath.Join(home, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), pid, 0); err != nil {
		back.Close()
		return nil, fmt.Errorf("enter cgroup of box %s: %w", b.Name, err)
	}
	return func() { back.Write(pid); back.Close() }, nil
}

// lookPath is exec.LookPath in the box: the PATH of the machine does not count there.
func lookPath(name string) (string, error) {
	if filepath.Base(name) != name {
		return name, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// status turns the end of a command into what the shell would say.
func status(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return exitStatus(128 + int(ws.Signal()))
		}
		return exitStatus(ws.ExitStatus())
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		fmt.Fprintf(os.Stderr, "box: %v\n", err)
		return exitStatus(127)
	case errors.Is(err, os.ErrPermission):
		fmt.Fprintf(os.Stderr, "box: %v\n", err)
		return exitStatus(126)
	}
	return err
}

// terminal connects ours with one of the box.
type terminal struct {
	pty   *os.File
	saved *term.State
	done  chan struct{}
}

// openTerminal makes a terminal in the devpts that the calling thread sees.
func openTerminal() (pty, peer *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		unix.Close(fd)
		return nil, nil, fmt.Errorf("unlock terminal: %w", err)
	}
	peerFd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		unix.Close(fd)
		return nil, nil, fmt.Errorf("open terminal: %w", errno)
	}
	return os.NewFile(uintptr(fd), "ptmx"), os.NewFile(peerFd, "pts"), nil
}

func attach(pty *os.File) *terminal {
	t := &terminal{pty: pty, done: make(chan struct{})}
	if saved, err := term.MakeRaw(int(os.Stdin.Fd())); err == nil {
		t.saved = saved
	}
	t.resize()
	go io.Copy(pty, os.Stdin) // ends with the process: a read of a terminal cannot be called off
	go func() { defer close(t.done); io.Copy(os.Stdout, pty) }()
	return t
}

func (t *terminal) resize() {
	if t == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(t.pty.Fd()), unix.TIOCSWINSZ, size)
	}
}

// drain waits for the last output: the copy ends with EIO when the last user of the terminal is gone.
func (t *terminal) drain() {
	if t != nil {
		<-t.done
	}
}

func (t *terminal) restore() {
	if t.saved != nil {
		term.Restore(int(os.Stdin.Fd()), t.saved)
	}
}

// ownCgroup is the directory of our own cgroup2 group.
func ownCgroup() (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for _, line := range slices.Backward(strings.Split(string(data), "\n")) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return filepath.Join(root, path), nil
		}
	}
	return "", errors.New("this process is in no cgroup2 group")
}

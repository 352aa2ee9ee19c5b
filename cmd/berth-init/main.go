//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command berth-init is a container's PID 1: it starts one program, passes
// every signal on to it, reaps what is orphaned, and ends with the program's
// status. Its flags are those of tini, which Docker installs as docker-init.
//
// Go's runtime sends itself SIGURG to preempt a goroutine that runs for 10 ms:
// none here does. Should it happen, the program gets a SIGURG more, which does
// nothing to who did not ask for it.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// version is set when a release is built.
var version = "0.1.0-dev"

// options are the command line.
type options struct {
	group   bool // -g: signals go to the program's whole process group
	warn    bool // -w: say when an orphan is reaped
	verbose int
	parent  syscall.Signal // -p: what we get when our parent dies
	reaper  bool           // -s: reap orphans although we are not PID 1
	remap   map[int]bool   // -e: statuses that become 0
	args    []string
}

// stage is how a program on a terminal is started: see start.
const stage = "--berth-init-foreground"

func main() {
	if len(os.Args) > 2 && os.Args[1] == stage {
		os.Exit(foreground(os.Args[2:]))
	}
	o, status, ok := parse(os.Args[1:])
	if !ok {
		os.Exit(status)
	}
	os.Exit(run(o))
}

func say(s string) { os.Stderr.WriteString("berth-init: " + s + "\n") } //nolint:errcheck // there is nobody else to tell

func run(o *options) int {
	if o.parent != 0 {
		if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(o.parent), 0); e != 0 {
			say("set parent death signal: " + e.Error())
			return 1
		}
	}
	if o.reaper {
		const prSetChildSubreaper = 36
		if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); e != 0 {
			say("become subreaper: " + e.Error())
			return 1
		}
	}
	if os.Getpid() != 1 && !o.reaper && o.verbose > 0 {
		say("not PID 1: orphans will not be reaped here (-s would)")
	}
	// Before the program exists, so that no signal is lost.
	signals := make(chan os.Signal, 256)
	signal.Notify(signals)
	pid, err := start(o.args)
	if err != nil {
		say("exec " + o.args[0] + ": " + err.Error())
		return execStatus(err)
	}
	if o.verbose > 1 {
		say("started " + o.args[0] + " as " + strconv.Itoa(pid))
	}
	for s := range signals {
		sig, ok := s.(syscall.Signal)
		if !ok {
			continue
		}
		if sig == syscall.SIGCHLD {
			if status, ended := reap(pid, o); ended {
				return status
			}
			continue
		}
		if sig == syscall.SIGTTIN || sig == syscall.SIGTTOU {
			continue // about our own use of the terminal
		}
		to := pid
		if o.group {
			to = -pid
		}
		if err := syscall.Kill(to, sig); err != nil && err != syscall.ESRCH && o.verbose > 0 {
			say("pass on " + sig.String() + ": " + err.Error())
		}
	}
	return 1
}

// reap takes every child that has ended, and says with which status the
// program did.
func reap(pid int, o *options) (status int, ended bool) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return status, ended
		}
		switch {
		case got == pid && ws.Exited():
			status, ended = ws.ExitStatus(), true
		case got == pid && ws.Signaled():
			status, ended = 128+int(ws.Signal()), true
		case got != pid && o.warn:
			say("reaped orphan " + strconv.Itoa(got))
		}
		if ended && o.remap[status] {
			status = 0
		}
	}
}

// start starts the program in a process group of its own. On a terminal that
// group has to become the foreground one before the program runs, by a process
// that is in the background already, which means with SIGTTOU blocked: not
// what a program should inherit, and nothing that package syscall can put
// right between fork and exec. So this binary starts once more, does that, and
// becomes the program.
func start(args []string) (int, error) {
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if isTerminal(0) {
		for _, self := range []string{"/proc/self/exe", os.Args[0]} {
			pid, err := syscall.ForkExec(self, append([]string{os.Args[0], stage}, args...), attr)
			if err == nil {
				return pid, nil
			}
		}
	}
	path, err := lookup(args[0])
	if err != nil {
		return 0, err
	}
	return syscall.ForkExec(path, args, attr)
}

// lookup finds a program as execvp does.
func lookup(name string) (string, error) {
	for i := range len(name) {
		if name[i] == '/' {
			return name, nil
		}
	}
	var found error = syscall.ENOENT
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for from := 0; from <= len(path); {
		to := from
		for to < len(path) && path[to] != ':' {
			to++
		}
		dir := path[from:to]
		if dir == "" {
			dir = "."
		}
		from = to + 1
		full := dir + "/" + name
		var st syscall.Stat_t
		if syscall.Stat(full, &st) != nil || st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			continue
		}
		const executable = 1
		if err := syscall.Access(full, executable); err == nil {
			return full, nil
		}
		found = syscall.EACCES
	}
	return "", found
}

// execStatus is a shell's status for a program that could not be run.
func execStatus(err error) int {
	if err == syscall.ENOENT || err == syscall.ENOTDIR {
		return 127
	}
	return 126
}

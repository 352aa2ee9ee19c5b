package shim

import (
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for every child of the process: those it started and those it
// was given as a subreaper. Nothing else in the process may wait.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus
	// spare are the statuses of children that nobody had asked for yet,
	// kept while an expected child may be among them.
	spare    map[int]unix.WaitStatus
	expected int
	oom      *oomScore // of this process; children do not get it
}

func newReaper() *reaper {
	return &reaper{waiting: map[int]chan unix.WaitStatus{}, spare: map[int]unix.WaitStatus{}}
}

// start executes a program. Its status comes once on the channel.
func (r *reaper) start(argv []string, attr *syscall.ProcAttr) (<-chan unix.WaitStatus, error) {
	r.mu.Lock() // the child must be known before it can be reaped
	defer r.mu.Unlock()
	var pid int
	var err error
	r.oom.giveUp(func() { pid, err = syscall.ForkExec(argv[0], argv, attr) })
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", argv[0], err)
	}
	ch := make(chan unix.WaitStatus, 1)
	r.waiting[pid] = ch
	return ch, nil
}

// expect keeps the statuses of unknown children until release: one of them
// will be claimed.
func (r *reaper) expect() (release func()) {
	r.mu.Lock()
	r.expected++
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.expected--; r.expected == 0 {
			clear(r.spare)
		}
	}
}

// claim asks for the status of a child that somebody else forked.
func (r *reaper) claim(pid int) <-chan unix.WaitStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := make(chan unix.WaitStatus, 1)
	if ws, ok := r.spare[pid]; ok {
		delete(r.spare, pid)
		ch <- ws
		return ch
	}
	r.waiting[pid] = ch
	return ch
}

// reap takes the status of all children that have ended. Called for SIGCHLD.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ch, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			ch <- ws
		} else if r.expected > 0 {
			r.spare[pid] = ws
		}
	}
}

// exitCode is a status as a shell would tell it, and the signal if one it was.
func exitCode(ws unix.WaitStatus) (code, signal int) {
	if ws.Signaled() {
		return 128 + int(ws.Signal()), int(ws.Signal())
	}
	return ws.ExitStatus(), 0
}

package shim

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/shim/wire"
)

// exec starts a process in the container. The runtime gives it the client's
// own descriptors and moves it into the container's cgroup; when the runtime
// has ended the process is our child.
func (v *server) exec(r *request) (any, error) {
	var a wire.ExecArgs
	if err := r.args(&a); err != nil {
		return nil, err
	}
	if len(a.Process) == 0 {
		return nil, invalid("process")
	}
	// A process may end the container: what it was is told all the same.
	if err := v.s.beginExec(); err != nil {
		return nil, err
	}
	defer v.s.countExec(-1)
	x, err := v.s.newExec(r, a)
	if err != nil {
		return nil, err
	}
	defer x.close()
	if err := x.start(); err != nil {
		return nil, execError(err)
	}
	return nil, x.reply(r)
}

// beginExec counts an exec that is being started, or whose client is to hear of
// its end: the end of the run waits for them, and lets none begin.
func (s *shim) beginExec() error {
	if err := s.server.running(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return refuse(wire.ErrorNotRunning, "container is not running")
	}
	s.execs++
	return nil
}

func (s *shim) countExec(n int) {
	s.mu.Lock()
	s.execs += n
	s.mu.Unlock()
}

// execTime bounds the wait for execs: their processes have been killed.
const execTime = time.Second

// waitExecs lets no exec begin any more and waits for those there are.
func (s *shim) waitExecs() {
	for end := time.Now().Add(execTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		s.ending = true
		n := s.execs
		s.mu.Unlock()
		if n == 0 {
			return
		}
	}
}

// execution is an exec on its way.
type execution struct {
	s       *shim
	id      string
	files   []*os.File // for the process
	io      stdio
	console *console
	process string // file
	logFile string
	pidFile string
	pid     int
	status  <-chan unix.WaitStatus
	master  *os.File
}

func (s *shim) newExec(r *request, a wire.ExecArgs) (x *execution, err error) {
	var id [8]byte
	rand.Read(id[:]) // never fails since Go 1.24
	x = &execution{s: s, id: hex.EncodeToString(id[:])}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	base := filepath.Join(s.dir, "exec-"+x.id)
	x.process, x.logFile, x.pidFile = base+".json", base+".log", base+".pid"
	fields := [...]string{"stdin", "stdout", "stderr"}
	for i, index := range []*int{a.Stdin, a.Stdout, a.Stderr} {
		f, err := r.take(index, fields[i])
		if err != nil {
			return x, err
		}
		if f == nil {
			if f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return x, err
			}
		}
		x.files = append(x.files, f)
		x.io[i] = rawFD(f)
	}
	if a.Terminal {
		if x.console, err = listenConsole(base + ".sock"); err != nil {
			return x, err
		}
	}
	if err := os.WriteFile(x.process, a.Process, 0o600); err != nil {
		return x, err
	}
	return x, nil
}

// close removes what only the start needed.
func (x *execution) close() {
	closeFiles(x.files)
	x.console.close()
	if x.master != nil {
		x.master.Close()
	}
	for _, path := range []string{x.process, x.logFile, x.pidFile} {
		os.Remove(path)
	}
}

func (x *execution) start() error {
	release := x.s.kids.expect()
	defer release()
	args := []string{"exec", "--detach", "--process", x.process, "--pid-file", x.pidFile}
	if x.console != nil {
		args = append(args, "--tty", "--console-socket", x.console.path)
	}
	args = append(args, x.s.rec.ID)
	done, err := x.s.oci.run(x.s.dir, x.logFile, x.io, args...)
	if err != nil {
		return err
	}
	if ws := <-done; ws != 0 {
		return failure("exec", x.logFile, nil)
	}
	if x.console != nil {
		if x.master, err = x.console.master(); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(x.pidFile)
	if err != nil {
		return err
	}
	if x.pid, err = strconv.Atoi(string(bytes.TrimSpace(data))); err != nil || x.pid <= 1 {
		return fmt.Errorf("pid file says %q", data)
	}
	x.status = x.s.kids.claim(x.pid)
	return nil
}

// reply tells the client, now and, if it wants to know, at the end.
func (x *execution) reply(r *request) error {
	c := r.client
	reply := wire.ExecReply{ID: x.id, Pid: x.pid}
	var files []*os.File
	if x.master != nil {
		reply.Master, files = new(int), []*os.File{x.master}
	}
	if x.master != nil && !r.More { // nobody follows
		if err := discard(x.master); err != nil {
			return err
		}
		x.master, reply.Master, files = nil, nil, nil
	}
	r.replied = true
	c.mu.Lock()
	err := c.send(wire.Reply{Continues: r.More}, reply, files...)
	c.mu.Unlock()
	if err != nil || !r.More {
		return err
	}
	status := x.status
	x.s.countExec(1)
	go func() {
		defer x.s.countExec(-1)
		code, sig := exitCode(<-status)
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = c.send(wire.Reply{}, wire.WaitReply{Exit: wire.Exit{Code: &code, Signal: sig}})
	}()
	return nil
}

// leaveTerminal takes the terminal of an exec'd process back from a client
// that leaves the process running.
func (v *server) leaveTerminal(r *request) (any, error) {
	var a wire.LeaveTerminalArgs
	if err := r.args(&a); err != nil {
		return nil, err
	}
	master, err := r.take(a.Master, "master")
	if err != nil {
		return nil, err
	}
	if master == nil {
		return nil, invalid("master")
	}
	return struct{}{}, discard(master)
}

// discard reads a terminal that nobody looks at, until no process has it open.
// Were it closed, its processes would be hung up; were it not read, they would
// wait to write.
func discard(master *os.File) error {
	f, err := pollable(master)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	go func() { // ends with the container at the latest
		defer f.Close()
		_, _ = io.Copy(io.Discard, f)
	}()
	return nil
}

// execError is the reply for an exec that came to nothing.
func execError(err error) error {
	var re *runtimeError
	code := startCode(err)
	if !errors.As(err, &re) {
		err = fmt.Errorf("exec: %w", err)
	}
	return &methodError{wire.ErrorExecFailed, wire.Error{Message: err.Error(), Code: code}}
}

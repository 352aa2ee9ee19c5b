package shim

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/logs"
	"github.com/berthrun/berth/shim/wire"
)

const serviceInterface = "org.varlink.service"

// methods are the handlers of calls. One that returns neither a reply nor an
// error has answered, or will.
var methods = map[string]func(*server, *request) (any, error){
	wire.MethodAttach:                             (*server).attach,
	wire.MethodCloseStdin:                         (*server).closeStdin,
	wire.MethodExec:                               (*server).exec,
	wire.MethodInfo:                               (*server).info,
	wire.MethodKill:                               (*server).kill,
	wire.MethodLeaveTerminal:                      (*server).leaveTerminal,
	wire.MethodResize:                             (*server).resize,
	wire.MethodWait:                               (*server).wait,
	serviceInterface + ".GetInfo":                 (*server).getInfo,
	serviceInterface + ".GetInterfaceDescription": (*server).getDescription,
}

func (v *server) getInfo(*request) (any, error) {
	return map[string]any{
		"vendor": "berth", "product": "berth-shim", "version": "1", "url": "https://berth.run",
		"interfaces": []string{serviceInterface, wire.Interface},
	}, nil
}

func (v *server) getDescription(r *request) (any, error) {
	var a struct{ Interface string }
	if err := r.args(&a); err != nil {
		return nil, err
	}
	switch a.Interface {
	case wire.Interface:
		return map[string]string{"description": wire.Description}, nil
	case serviceInterface:
		return map[string]string{"description": serviceDescription}, nil
	}
	return nil, &methodError{wire.ErrorInterfaceNotFound, map[string]string{"interface": a.Interface}}
}

// serviceDescription is given by the Varlink specification.
const serviceDescription = `interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
`

func (v *server) info(*request) (any, error) {
	s := v.s
	v.mu.Lock()
	state := v.state
	v.mu.Unlock()
	i := wire.Info{ID: s.rec.ID, Name: s.rec.Name, State: state, Terminal: s.rec.Terminal}
	if state == stateRunning {
		i.Pid = s.init.pid
		i.Stdout, i.Stderr = s.stream(logs.Stdout).taken(), s.stream(logs.Stderr).taken()
		if s.stopped() {
			i.State = "stopping"
		}
	}
	return i, nil
}

func (v *server) running() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state != stateRunning {
		return refuse(wire.ErrorNotRunning, "container is not running")
	}
	return nil
}

func (v *server) kill(r *request) (any, error) {
	var a wire.KillArgs
	if err := r.args(&a); err != nil {
		return nil, err
	}
	if a.Signal < 1 || a.Signal > maxSignal {
		return nil, invalid("signal")
	}
	if err := v.running(); err != nil {
		return nil, err
	}
	if err := v.s.init.signal(unix.Signal(a.Signal)); err != nil {
		return nil, refuse(wire.ErrorNotRunning, err.Error())
	}
	return struct{}{}, nil
}

func (v *server) resize(r *request) (any, error) {
	var a wire.ResizeArgs
	if err := r.args(&a); err != nil {
		return nil, err
	}
	if !v.s.rec.Terminal {
		return nil, refuse(wire.ErrorNoTerminal, "container has no terminal")
	}
	if !v.hasStdio() {
		return nil, refuse(wire.ErrorNotRunning, "container is not running")
	}
	err := control(v.s.pty, func(fd int) {
		_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: a.Height, Col: a.Width})
	})
	return struct{}{}, err
}

func (v *server) closeStdin(*request) (any, error) {
	v.s.closeStdin()
	return struct{}{}, nil
}

// hasStdio says whether the container's stdio is there, without waiting.
func (v *server) hasStdio() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

func (v *server) wait(r *request) (any, error) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.exit != nil {
		return wire.WaitReply{Exit: *v.exit}, nil
	}
	c.waiting = true
	return nil, nil
}

func (v *server) attach(r *request) (any, error) {
	var a wire.AttachArgs
	if err := r.args(&a); err != nil {
		return nil, err
	}
	stdout, err := r.take(a.Stdout, "stdout")
	if err != nil {
		return nil, err
	}
	stderr, err := r.take(a.Stderr, "stderr")
	if err != nil {
		closeFiles([]*os.File{stdout})
		return nil, err
	}
	select {
	case <-v.ready:
	case <-v.over:
	}
	return v.attachNow(r, a, stdout, stderr)
}

func (v *server) attachNow(r *request, a wire.AttachArgs, stdout, stderr *os.File) (any, error) {
	c, s := r.client, v.s
	c.mu.Lock()
	defer c.mu.Unlock()
	v.mu.Lock()
	exit := v.exit
	if exit == nil {
		// From here on the end of the container is told to c, after this
		// reply: both are sent under c.mu.
		c.attached, c.waiting = true, r.More
	}
	v.mu.Unlock()
	if exit != nil {
		closeFiles([]*os.File{stdout, stderr})
		return wire.AttachReply{Terminal: s.rec.Terminal, Exit: exit}, nil
	}
	reply := wire.AttachReply{Terminal: s.rec.Terminal}
	reply.StdoutOffset = c.follow(s.stream(logs.Stdout), sharpen(stdout), a.StdoutOffset)
	reply.StderrOffset = c.follow(s.stream(logs.Stderr), sharpen(stderr), a.StderrOffset)
	var files []*os.File
	if in := s.input(); a.Stdin && in != nil {
		reply.Stdin, files = new(int), []*os.File{in}
		c.stdinOnce = a.StdinOnce
	}
	r.replied = true
	if err := c.send(wire.Reply{Continues: r.More}, reply, files...); err != nil {
		return nil, err
	}
	v.once.Do(func() { close(v.attached) })
	return nil, nil
}

// input is what a client writes to.
func (s *shim) input() *os.File {
	if s.pty != nil {
		return s.pty
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stdin
}

// sharpen puts a client's pipe into the poller, so that a client that does not
// read holds a goroutine, not a thread. Files of other kinds stay as they are.
func sharpen(f *os.File) *os.File {
	if f == nil {
		return nil
	}
	fi, err := f.Stat()
	if err != nil || fi.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return f
	}
	p, err := pollable(f)
	if err != nil {
		return nil
	}
	return p
}

// taken is how many bytes of the stream there have been.
func (s *stream) taken() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

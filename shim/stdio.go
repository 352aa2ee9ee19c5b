package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/logs"
	"github.com/berthrun/berth/unit/notify"
)

// pipe has a non-blocking read end.
type pipe struct{ r, w *os.File }

func newPipe() (pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return pipe{}, fmt.Errorf("make pipe: %w", err)
	}
	// The ends are two open files: the container's does not become
	// non-blocking by this.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return pipe{}, fmt.Errorf("make pipe: %w", err)
	}
	return pipe{os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")}, nil
}

func (p pipe) close() {
	p.r.Close()
	p.w.Close()
}

// childEnds are the container's ends of its stdio, open until it has them.
type childEnds struct {
	io      stdio
	files   []*os.File
	stderr  *os.File // read end of what the runtime writes its errors to
	console *console
}

func (c *childEnds) close() {
	if c == nil {
		return
	}
	for _, f := range c.files {
		f.Close()
	}
	c.console.close()
}

// said returns what was written to stderr so far.
func (c *childEnds) said() []byte {
	if c.stderr == nil {
		return nil
	}
	return drain(c.stderr)
}

// makeStdio makes the container's stdio and puts our ends into the store of
// descriptors: they are there before anybody writes to them.
func (s *shim) makeStdio() (*childEnds, error) {
	if s.rec.Terminal {
		return s.makeConsole()
	}
	c := &childEnds{}
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return c, fmt.Errorf("make stdio: %w", err)
	}
	c.files = append(c.files, null)
	c.io[0] = rawFD(null)
	if s.rec.OpenStdin {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return c, fmt.Errorf("make stdio: %w", err)
		}
		r := os.NewFile(uintptr(fds[0]), fdStdin)
		s.stdin = os.NewFile(uintptr(fds[1]), fdStdin)
		c.files = append(c.files, r)
		c.io[0] = rawFD(r)
		// Not with the others: closed here, it must be closed everywhere.
		if err := s.sd.Store(fdStdin, s.stdin); err != nil && !errors.Is(err, notify.ErrNoManager) {
			return c, fmt.Errorf("store %s: %w", fdStdin, err)
		}
	}
	for i, id := range []logs.Stream{logs.Stdout, logs.Stderr} {
		p, err := newPipe()
		if err != nil {
			return c, fmt.Errorf("make stdio: %w", err)
		}
		c.files = append(c.files, p.w)
		c.io[1+i] = rawFD(p.w)
		c.stderr = p.r // the last one
		if err := s.keep(id.String(), p.r); err != nil {
			return c, err
		}
		if err := s.addStream(id, p.r); err != nil {
			return c, err
		}
	}
	return c, nil
}

// takeStdio takes our ends from the store of descriptors and opens the log
// where the process before was.
func (s *shim) takeStdio(in *notify.Inherited) error {
	for _, f := range in.Named(fdStdin) {
		s.stdin = f
	}
	if s.rec.Terminal {
		if err := s.takeConsole(in); err != nil {
			return err
		}
	} else {
		for _, id := range []logs.Stream{logs.Stdout, logs.Stderr} {
			for _, f := range in.Named(id.String()) {
				src, err := pollable(f)
				if err != nil {
					return err
				}
				if err := s.addStream(id, src); err != nil {
					return err
				}
			}
		}
	}
	return s.openLogAgain()
}

// console is the socket on which the runtime hands over the master of the
// terminal it made.
type console struct {
	path string
	fd   int
}

func (s *shim) makeConsole() (*childEnds, error) {
	c := &childEnds{}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return c, fmt.Errorf("make stdio: %w", err)
	}
	c.files = append(c.files, null)
	c.io = stdio{rawFD(null), rawFD(null), rawFD(null)}
	c.console, err = listenConsole(filepath.Join(s.dir, "console.sock"))
	return c, err
}

func listenConsole(path string) (*console, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listen for terminal: %w", err)
	}
	c := &console{path, fd}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("listen for terminal: %w", err)
	}
	return c, nil
}

func (c *console) close() {
	if c == nil {
		return
	}
	unix.Close(c.fd)
	os.Remove(c.path)
}

// master returns what the runtime sent. It has ended: nothing is waited for.
func (c *console) master() (*os.File, error) {
	conn, _, err := unix.Accept4(c.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: the runtime sent none: %w", err)
	}
	defer unix.Close(conn)
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := unix.Recvmsg(conn, name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	var fds []int
	for i := range cmsgs {
		got, err := unix.ParseUnixRights(&cmsgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	if len(fds) == 0 {
		return nil, errors.New("receive terminal: no descriptor came")
	}
	for _, fd := range fds[1:] {
		unix.Close(fd)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), fdPty), nil
}

// takeTerminal receives the master of the container's terminal. splice(2)
// wants a pipe on one side, so that a pipe lies between the terminal and the
// stage. Its read end is in the store too, and with it what the pipe holds; a
// write end can be had from it again.
func (s *shim) takeTerminal(ends *childEnds) error {
	if !s.rec.Terminal {
		return nil
	}
	master, err := ends.console.master()
	if err != nil {
		return err
	}
	s.pty = master
	if err := s.keep(fdPty, master); err != nil {
		return err
	}
	p, err := newPipe()
	if err != nil {
		return err
	}
	if err := s.keep(fdPtyPipe, p.r); err != nil {
		return err
	}
	return s.addTerminal(p.w, p.r)
}

func (s *shim) takeConsole(in *notify.Inherited) error {
	masters, pipes := in.Named(fdPty), in.Named(fdPtyPipe)
	if len(masters) == 0 || len(pipes) == 0 {
		return errors.New("no terminal in the store of descriptors")
	}
	var err error
	if s.pty, err = pollable(masters[0]); err != nil {
		return err
	}
	r, err := pollable(pipes[0])
	if err != nil {
		return err
	}
	w, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(rawFD(r))), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return s.addTerminal(w, r)
}

func (s *shim) addTerminal(w, r *os.File) error {
	w, err := pollable(w)
	if err != nil {
		return err
	}
	s.feed = &feeder{tty: s.pty, pipe: w}
	return s.addStream(logs.Stdout, r)
}

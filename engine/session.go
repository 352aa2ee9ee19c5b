package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/warm"
	"github.com/berthrun/berth/shim/wire"
)

// AttachOptions say which streams of a container a client wants.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	StdinOnce             bool // the container's input ends with this session
}

// Session is a client's end of a container's streams, or of those of a process
// that was started in it. A container's session outlives the shim: where that
// is killed, it goes on with the next one at the byte where it was.
type Session struct {
	// Stdin writes to the process; nil where it was not asked for or the
	// process has none. Stdout and Stderr read until the process's end; nil
	// where not asked for. With TTY Stdin is the terminal, and all output comes
	// by Stdout.
	Stdin          *os.File
	Stdout, Stderr io.Reader
	TTY            bool

	h      *Host
	record *container.Record
	opts   AttachOptions
	isExec bool
	pidfd  int             // of an exec'd process, -1 for none; guarded by mu once follow runs
	before *container.Exit // the exit record when the session began; nil: none

	stdout, stderr *output
	done           chan struct{} // closed when exit and err are set
	exit           *container.Exit
	err            error

	mu    sync.Mutex // guards what follows
	moved sync.Cond  // an output was parked or has a new source, or the end has come
	c     *wire.Client
	ended bool
}

// output reads one stream through as many pipes as there are shims.
type output struct {
	s      *Session
	file   *os.File // guarded by s.mu
	parked bool     // at the end of file; guarded by s.mu
	first  int64    // offset in the stream of the first byte
	count  int64    // bytes read
}

func (o *output) Read(p []byte) (int, error) {
	for {
		o.s.mu.Lock()
		f := o.file
		o.s.mu.Unlock()
		n, err := f.Read(p)
		o.count += int64(n)
		if n > 0 || err != io.EOF {
			return n, err
		}
		if !o.s.park(o) {
			return 0, io.EOF
		}
	}
}

// park waits at the end of a pipe: either this was the end of the stream, or
// the shim died and the next one goes on in another pipe.
func (s *Session) park(o *output) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.parked = true
	s.moved.Broadcast()
	for o.parked && !s.ended {
		s.moved.Wait()
	}
	return !o.parked
}

// Attach connects a client to a running container.
func Attach(ctx context.Context, h *Host, name string, a AttachOptions) (*Session, error) {
	r, err := h.Containers.Load(name)
	if err != nil {
		return nil, err
	}
	c, _, err := dial(ctx, h, r)
	if err != nil {
		return nil, err
	}
	return attach(ctx, h, r, c, &a)
}

// dial connects to the shim of a running container.
//
// Only who holds the run's directory connects: the shim takes it for itself
// before it ends, so no connection is left in the queue of the socket, where
// it would start the container again.
func dial(ctx context.Context, h *Host, r *container.Record) (*wire.Client, *container.Started, error) {
	started, err := h.Containers.Started(r.ID)
	if err != nil {
		return nil, nil, err
	}
	if started == nil {
		return nil, nil, fmt.Errorf("container %s: %w", r.Name, ErrNotRunning)
	}
	c, err := dialRun(ctx, h, r, started.Control)
	return c, started, err
}

func dialRun(ctx context.Context, h *Host, r *container.Record, path string) (*wire.Client, error) {
	run, err := h.Containers.HoldRun(r.ID)
	if errors.Is(err, container.ErrNotExist) || errors.Is(err, container.ErrInUse) {
		return nil, fmt.Errorf("container %s: %w", r.Name, ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	defer run.Close()
	return wire.Dial(ctx, path)
}

// attachStarting attaches to a container whose unit is being started: its
// control socket comes first.
func attachStarting(ctx context.Context, h *Host, r *container.Record, a *AttachOptions, w *container.Starter) (*Session, error) {
	path := h.Containers.Control(r.ID)
	deadline := time.Now().Add(unitLook)
	for {
		c, err := wire.Dial(ctx, path)
		if err == nil {
			warm.Up()
			var s *Session
			if s, err = attach(ctx, h, r, c, a); err == nil {
				return s, nil
			}
		}
		switch {
		case errors.Is(err, wire.ErrGone):
			// The start failed, or its shim was killed and comes back: with it
			// the container may be running by now.
			if werr := waitStarted(ctx, h, r, w); werr != nil {
				return nil, startFailure(ctx, h, r, nil, werr)
			}
			return Attach(ctx, h, r.ID, *a)
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ECONNREFUSED):
			return nil, err
		case time.Now().After(deadline):
			p, werr := where(ctx, h, r)
			h.Close()
			if werr != nil {
				return nil, werr
			}
			if p.status.Active == "" {
				return nil, startFailure(ctx, h, r, nil, container.ErrNoStart)
			}
			deadline = time.Now().Add(unitLook) // a busy machine
		}
		// systemd makes the socket within a millisecond of the call.
		if err := pause(ctx, 200*time.Microsecond); err != nil {
			return nil, err
		}
	}
}

func attach(ctx context.Context, h *Host, r *container.Record, c *wire.Client, a *AttachOptions) (*Session, error) {
	s := newSession(h, r, a)
	w, err := s.connect(ctx, c)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("attach to container %s: %w", r.Name, err)
	}
	s.Stdin = w.Input
	s.TTY = w.Terminal
	go s.follow(w)
	return s, nil
}

func newSession(h *Host, r *container.Record, a *AttachOptions) *Session {
	s := &Session{h: h, record: r, opts: *a, done: make(chan struct{}), pidfd: -1}
	s.moved.L = &s.mu
	s.before, _ = h.Containers.Exit(r.ID) // one that cannot be read will say so later
	if a.Stdout {
		s.stdout = &output{s: s}
		s.Stdout = s.stdout
	}
	if a.Stderr && !r.Terminal {
		s.stderr = &output{s: s}
		s.Stderr = s.stderr
	}
	return s
}

// connect attaches over c, with new pipes that go on where the old ones ended.
func (s *Session) connect(ctx context.Context, c *wire.Client) (_ *wire.Session, err error) {
	s.mu.Lock()
	again, ended := s.c != nil, s.ended
	s.c = c // Close ends the call below
	s.mu.Unlock()
	if ended {
		return nil, os.ErrClosed
	}
	o := wire.AttachOptions{Stdin: s.opts.Stdin && !again, StdinOnce: s.opts.StdinOnce}
	var readers [2]*os.File
	for i, out := range []*output{s.stdout, s.stderr} {
		if out == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer w.Close() // the shim has its own copy then
		readers[i] = r
		offset := out.first + out.count
		if i == 0 {
			o.Stdout = w
			if again {
				o.StdoutOffset = &offset
			}
		} else {
			o.Stderr = w
			if again {
				o.StderrOffset = &offset
			}
		}
	}
	w, err := c.Attach(ctx, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.ended {
		err = os.ErrClosed // Close has closed what it knew of
		if w.Input != nil {
			w.Input.Close()
		}
	}
	if err != nil {
		for _, r := range readers {
			if r != nil {
				r.Close()
			}
		}
		return nil, err
	}
	for i, out := range []*output{s.stdout, s.stderr} {
		if out == nil {
			continue
		}
		if out.file != nil {
			out.file.Close()
		}
		out.file, out.parked = readers[i], false
		if !again {
			out.first = []int64{w.StdoutOffset, w.StderrOffset}[i]
		}
	}
	s.moved.Broadcast()
	return w, nil
}

// follow waits for the end, through as many shims as it takes.
func (s *Session) follow(w *wire.Session) {
	ctx := context.Background() // ends with Close, which closes the connection
	defer close(s.done)
	defer s.end()
	for {
		e, err := w.Wait(ctx)
		if err == nil {
			s.exit = exitOf(e)
			if !s.isExec {
				_ = w.WaitGone(ctx) // a shim killed here has told what there is to tell
			}
			return
		}
		if s.isExec || !errors.Is(err, wire.ErrGone) || s.closed() {
			s.err = err
			return
		}
		if w, err = s.reattach(ctx); err != nil {
			if s.closed() {
				s.err = err
			} else {
				s.exit, s.err = s.lastExit(err)
			}
			return
		}
	}
}

// reattach goes on with the next shim. Its error says that there is none.
func (s *Session) reattach(ctx context.Context) (*wire.Session, error) {
	s.mu.Lock()
	for !s.ended && (s.stdout != nil && !s.stdout.parked || s.stderr != nil && !s.stderr.parked) {
		s.moved.Wait() // what the dead shim wrote must be read, and counted, first
	}
	s.mu.Unlock()
	for {
		c, _, err := dial(ctx, s.h, s.record)
		if err != nil {
			return nil, err
		}
		w, err := s.connect(ctx, c)
		if err == nil {
			return w, nil
		}
		c.Close()
		if !errors.Is(err, wire.ErrGone) || s.closed() {
			return nil, err
		}
	}
}

// lastExit is the exit of a run whose shim is gone, as the record has it.
func lastExit(h *Host, r *container.Record, cause error) (*container.Exit, error) {
	exit, err := h.Containers.Exit(r.ID)
	if err != nil {
		return nil, err
	}
	if exit == nil {
		return nil, fmt.Errorf("container %s: its exit status is not known: %w", r.Name, cause)
	}
	return exit, nil
}

// lastExit is that of the session's own run: a record that was there before is
// another run's.
func (s *Session) lastExit(cause error) (*container.Exit, error) {
	exit, err := lastExit(s.h, s.record, cause)
	if err == nil && s.before != nil && exit.Invocation == s.before.Invocation && exit.Finished.Equal(s.before.Finished) {
		return nil, fmt.Errorf("container %s: its exit status is not known: %w", s.record.Name, cause)
	}
	return exit, err
}

func exitOf(e wire.Exit) *container.Exit {
	return &container.Exit{Code: e.Code, Signal: e.Signal, OOMKilled: e.OOMKilled, Stopped: e.Stopped, Error: e.Error}
}

func (s *Session) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// end tells parked readers that nothing more comes.
func (s *Session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.moved.Broadcast()
}

// Wait returns how the process ended. Of a container all that belonged to the
// run is gone by then, with AutoRemove the container itself.
func (s *Session) Wait(ctx context.Context) (*container.Exit, error) {
	select {
	case <-s.done:
		return s.exit, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Leave is Close where what the session is of shall go on: a process that was
// started in the container would be hung up by the end of its terminal.
func (s *Session) Leave() error {
	s.mu.Lock()
	c := s.c
	s.mu.Unlock()
	if !s.isExec || !s.TTY || c == nil {
		return s.Close()
	}
	return errors.Join(c.LeaveTerminal(s.Stdin), s.Close())
}

// Close detaches. The container goes on.
func (s *Session) Close() error {
	s.mu.Lock()
	s.ended = true
	s.moved.Broadcast()
	files := []*os.File{s.Stdin}
	for _, o := range []*output{s.stdout, s.stderr} {
		if o != nil {
			files = append(files, o.file)
		}
	}
	c := s.c
	if s.pidfd >= 0 {
		unix.Close(s.pidfd)
		s.pidfd = -1
	}
	s.mu.Unlock()
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
	if c == nil {
		return nil
	}
	return c.Close()
}

// CloseStdin ends the process's input.
func (s *Session) CloseStdin() error {
	if s.Stdin == nil || s.TTY {
		return nil
	}
	err := s.Stdin.Close()
	if s.isExec {
		return err
	}
	// The shim holds the other write end.
	c, _, derr := dial(context.Background(), s.h, s.record)
	if derr != nil {
		return err
	}
	defer c.Close()
	return c.CloseStdin(context.Background())
}

// Resize sets the size of the terminal.
func (s *Session) Resize(ctx context.Context, cols, rows uint16) error {
	if !s.TTY {
		return nil
	}
	if s.Stdin != nil {
		return setSize(s.Stdin, cols, rows)
	}
	c, _, err := dial(ctx, s.h, s.record)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Resize(ctx, cols, rows)
}

// setSize sets a terminal's size without making the file blocking, as Fd would.
func setSize(f *os.File, cols, rows uint16) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = rc.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
	})
	return errors.Join(err, ioctlErr)
}

// Signal sends a signal to the process.
func (s *Session) Signal(ctx context.Context, sig syscall.Signal) error {
	if s.isExec {
		s.mu.Lock()
		defer s.mu.Unlock()
		return signalExec(s.pidfd, sig)
	}
	return Kill(ctx, s.h, s.record.ID, sig)
}

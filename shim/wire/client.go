package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Client is a connection to a container's supervisor. It carries one call at a
// time; a session occupies it until its end.
type Client struct {
	conn *Conn
}

// Dial connects to the control socket at path. systemd accepts while the
// supervisor is being restarted: the first answer may take that long. The
// error is ENOENT or ECONNREFUSED where no container listens.
func Dial(ctx context.Context, path string) (*Client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		// EAGAIN: the queue of waiting connections is full (unix(7)); there
		// is nothing to poll for it.
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
		select {
		case <-ctx.Done():
			unix.Close(fd)
			return nil, fmt.Errorf("dial %s: %w", path, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	conn, err := NewConn(fd)
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Close ends the connection. An attached client leaves; an exec'd process goes on.
func (c *Client) Close() error { return c.conn.Close() }

// Info says what the container is doing.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var r Info
	return r, c.call(ctx, MethodInfo, nil, &r)
}

// Kill sends a signal to the container's first process.
func (c *Client) Kill(ctx context.Context, signal int) error {
	return c.call(ctx, MethodKill, KillArgs{signal}, nil)
}

// Resize sets the size of the container's terminal.
func (c *Client) Resize(ctx context.Context, width, height uint16) error {
	return c.call(ctx, MethodResize, ResizeArgs{width, height}, nil)
}

// CloseStdin ends the container's standard input.
func (c *Client) CloseStdin(ctx context.Context) error {
	return c.call(ctx, MethodCloseStdin, nil, nil)
}

// Wait returns when the container has ended.
func (c *Client) Wait(ctx context.Context) (Exit, error) {
	var r WaitReply
	return r.Exit, c.call(ctx, MethodWait, nil, &r)
}

// AttachOptions say what to attach. Stdout and Stderr are usually the write
// ends of pipes; the caller keeps and closes its own copies.
type AttachOptions struct {
	Stdin     bool // ask for the container's input
	StdinOnce bool // the container's input ends with this session
	Stdout    *os.File
	Stderr    *os.File
	// Offsets to go on from, for a client that was attached before.
	StdoutOffset, StderrOffset *int64
}

// ExecOptions describe a process. Absent files are /dev/null.
type ExecOptions struct {
	Process               json.RawMessage // OCI process object
	Terminal              bool
	Stdin, Stdout, Stderr *os.File
	Detach                bool // do not follow the process
}

// Session is an attached client or an exec'd process.
type Session struct {
	// Input writes to the container's standard input, or is the master of
	// the terminal. nil where there is none. The session's user closes it.
	Input    *os.File
	Terminal bool
	Pid      int    // exec only
	ID       string // exec only
	// Offsets of the first bytes that come to Stdout and Stderr. Attach only.
	StdoutOffset, StderrOffset int64

	c    *Client
	exit *Exit
	last bool
}

// Attach connects to the container's input and output.
func (c *Client) Attach(ctx context.Context, o AttachOptions) (*Session, error) {
	args := AttachArgs{Stdin: o.Stdin, StdinOnce: o.StdinOnce, StdoutOffset: o.StdoutOffset, StderrOffset: o.StderrOffset}
	var files []*os.File
	args.Stdout, files = pass(o.Stdout, files)
	args.Stderr, files = pass(o.Stderr, files)
	if err := c.send(MethodAttach, args, true, files); err != nil {
		return nil, err
	}
	var r AttachReply
	more, got, err := c.receive(ctx, &r)
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	s := &Session{Terminal: r.Terminal, StdoutOffset: r.StdoutOffset, StderrOffset: r.StderrOffset, c: c, exit: r.Exit, last: !more}
	s.Input, err = pick(r.Stdin, got, "stdin")
	return s, keepOnly(s.Input, got, err)
}

// Exec starts a process in the container. An *Error named ErrorExecFailed has
// the exit code for it.
func (c *Client) Exec(ctx context.Context, o ExecOptions) (*Session, error) {
	args := ExecArgs{Process: o.Process, Terminal: o.Terminal}
	var files []*os.File
	if !o.Terminal {
		args.Stdin, files = pass(o.Stdin, files)
		args.Stdout, files = pass(o.Stdout, files)
		args.Stderr, files = pass(o.Stderr, files)
	}
	if err := c.send(MethodExec, args, !o.Detach, files); err != nil {
		return nil, err
	}
	var r ExecReply
	more, got, err := c.receive(ctx, &r)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	s := &Session{Terminal: o.Terminal, Pid: r.Pid, ID: r.ID, c: c, exit: r.Exit, last: !more}
	s.Input, err = pick(r.Master, got, "master")
	return s, keepOnly(s.Input, got, err)
}

// LeaveTerminal hands the terminal of an exec'd process back, for the process
// to go on when this client has left. It may be called while the process is
// waited for; nothing answers it.
func (c *Client) LeaveTerminal(master *os.File) error {
	var args LeaveTerminalArgs
	var files []*os.File
	args.Master, files = pass(master, files)
	return c.sendCall(Call{Method: MethodLeaveTerminal, Oneway: true}, args, files)
}

// Wait returns what the session's process ended with. All of the output has
// been written by then. ErrGone where the supervisor went away first: dial and
// attach again, or read the exit record.
func (s *Session) Wait(ctx context.Context) (Exit, error) {
	for s.exit == nil {
		if s.last {
			return Exit{}, ErrGone
		}
		var r struct {
			Exit *Exit `json:"exit"`
		}
		more, got, err := s.c.receive(ctx, &r)
		closeAll(got)
		if err != nil {
			return Exit{}, fmt.Errorf("wait: %w", err)
		}
		s.exit, s.last = r.Exit, !more
	}
	return *s.exit, nil
}

// WaitGone returns when the supervisor has closed the connection: nothing of
// the run is left, and of a container with --rm nothing at all.
func (s *Session) WaitGone(ctx context.Context) error {
	_, got, err := s.c.receive(ctx, nil)
	closeAll(got)
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// pass adds f to the files of a message and returns its index.
func pass(f *os.File, files []*os.File) (*int, []*os.File) {
	if f == nil {
		return nil, files
	}
	i := len(files)
	return &i, append(files, f)
}

// keepOnly closes the files that nobody will use.
func keepOnly(keep *os.File, files []*os.File, err error) error {
	for _, f := range files {
		if f != keep || err != nil {
			f.Close()
		}
	}
	return err
}

func (c *Client) call(ctx context.Context, method string, args, reply any) error {
	if err := c.send(method, args, false, nil); err != nil {
		return err
	}
	_, files, err := c.receive(ctx, reply)
	closeAll(files)
	return err
}

func (c *Client) send(method string, args any, more bool, files []*os.File) error {
	return c.sendCall(Call{Method: method, More: more}, args, files)
}

func (c *Client) sendCall(call Call, args any, files []*os.File) error {
	params, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("call %s: %w", call.Method, err)
	}
	call.Parameters = params
	if args == nil {
		call.Parameters = []byte("{}")
	}
	msg, err := json.Marshal(call)
	if err != nil {
		return fmt.Errorf("call %s: %w", call.Method, err)
	}
	err = c.conn.Send(msg, files...)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("call %s: %w", call.Method, ErrGone)
	}
	return err
}

// receive waits for one reply and says whether another one follows.
func (c *Client) receive(ctx context.Context, reply any) (more bool, files []*os.File, err error) {
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	msg, files, err := c.conn.Receive()
	if !stop() {
		c.conn.SetReadDeadline(time.Time{})
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return false, nil, ctx.Err()
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET):
		return false, nil, ErrGone
	case err != nil:
		return false, nil, err
	}
	var r Reply
	if err := json.Unmarshal(msg, &r); err != nil {
		closeAll(files)
		return false, nil, fmt.Errorf("reply: %w", err)
	}
	if r.Error != "" {
		closeAll(files)
		e := &Error{Name: r.Error}
		if len(r.Parameters) > 0 {
			_ = json.Unmarshal(r.Parameters, e) // the name alone is an answer too
		}
		return false, nil, e
	}
	if reply != nil && len(r.Parameters) > 0 {
		if err := json.Unmarshal(r.Parameters, reply); err != nil {
			closeAll(files)
			return false, nil, fmt.Errorf("reply: %w", err)
		}
	}
	return r.Continues, files, nil
}

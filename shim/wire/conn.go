package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// MaxMessage bounds one message; a peer that sends more is cut off.
const MaxMessage = 1 << 20

// maxFiles bounds the descriptors that may wait for the message they belong to.
const maxFiles = 16

// ErrTooLarge is returned for a message above MaxMessage.
var ErrTooLarge = errors.New("message is too large")

// Conn is one end of a connection: messages with descriptors beside them.
// Receive and Send may be called at the same time, each by one caller.
type Conn struct {
	f     *os.File
	buf   []byte // received, not yet returned
	scan  int    // bytes of buf known to hold no NUL
	files []*os.File
}

// NewConn takes over a connected stream socket.
func NewConn(fd int) (*Conn, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connection: %w", err)
	}
	return &Conn{f: os.NewFile(uintptr(fd), "control")}, nil
}

// Close ends the connection and a call that waits on it.
func (c *Conn) Close() error {
	return c.f.Close()
}

// SetReadDeadline bounds the calls of Receive that follow and the one that waits.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.f.SetReadDeadline(t) }

// SetWriteDeadline bounds the calls of Send that follow.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.f.SetWriteDeadline(t) }

// Receive returns the next message, without its NUL, and the descriptors that
// came with it. They are the caller's. io.EOF at an orderly end. The message
// is valid until the next call.
func (c *Conn) Receive() ([]byte, []*os.File, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.scan:], 0); i >= 0 {
			i += c.scan
			if i > MaxMessage {
				c.drop()
				return nil, nil, ErrTooLarge
			}
			msg := c.buf[:i:i]
			c.buf, c.scan = c.buf[i+1:], 0
			files := c.files
			c.files = nil
			return msg, files, nil
		}
		c.scan = len(c.buf)
		if len(c.buf) > MaxMessage {
			c.drop()
			return nil, nil, ErrTooLarge
		}
		if err := c.fill(); err != nil {
			c.drop()
			if err == io.EOF && len(c.buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, err
		}
	}
}

// drop closes descriptors that no message will return.
func (c *Conn) drop() {
	closeAll(c.files)
	c.files = nil
}

// fill reads once from the socket.
func (c *Conn) fill() error {
	if cap(c.buf)-len(c.buf) < 512 {
		// A message that was returned before is not ours any more: grow
		// into new memory.
		grown := make([]byte, len(c.buf), max(2*len(c.buf), 4096))
		copy(grown, c.buf)
		c.buf = grown
	}
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	var n, oobn int
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, rerr = unix.Recvmsg(int(fd), c.buf[len(c.buf):cap(c.buf)], oob, unix.MSG_CMSG_CLOEXEC)
		return rerr != unix.EAGAIN && rerr != unix.EINTR
	})
	if err != nil {
		return err
	}
	if rerr != nil {
		return fmt.Errorf("receive: %w", rerr)
	}
	c.files = append(c.files, parseFiles(oob[:oobn])...)
	if len(c.files) > maxFiles {
		return errors.New("receive: too many descriptors")
	}
	if n == 0 {
		return io.EOF
	}
	c.buf = c.buf[:len(c.buf)+n]
	return nil
}

func parseFiles(oob []byte) []*os.File {
	if len(oob) == 0 {
		return nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range cmsgs {
		fds, err := unix.ParseUnixRights(&cmsgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files
}

// Send writes msg, which must hold no NUL, and its terminator, with the
// descriptors beside its first byte.
func (c *Conn) Send(msg []byte, files ...*os.File) error {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	data := append(append(make([]byte, 0, len(msg)+1), msg...), 0)
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			if fds[i], err = rawFD(f); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		oob = unix.UnixRights(fds...)
	}
	for len(data) > 0 {
		var n int
		var serr error
		err := raw.Write(func(fd uintptr) bool {
			n, serr = unix.SendmsgN(int(fd), data, oob, nil, unix.MSG_NOSIGNAL)
			return serr != unix.EAGAIN && serr != unix.EINTR
		})
		if err == nil {
			err = serr
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		data, oob = data[n:], nil
	}
	return nil
}

// rawFD returns f's descriptor without what (*os.File).Fd does to it: set it
// to blocking mode for everybody who has it.
func rawFD(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	n := -1
	err = raw.Control(func(fd uintptr) { n = int(fd) })
	return n, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

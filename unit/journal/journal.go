package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// socketPath is where journald listens for its native protocol.
const socketPath = "/run/systemd/journal/socket"

// sendBuffer is the largest entry that is sent as a datagram rather than as a
// file, if the kernel allows so much: as libsystemd sets it.
const sendBuffer = 8 << 20

// ErrField: a field's name is not one.
var ErrField = errors.New("journal: bad field name")

// Field is one NAME=value of an entry. A name may occur more than once.
type Field struct {
	Name  string // A to Z, 0 to 9 and _, the first a letter; at most 64 bytes
	Value []byte // anything
}

// Conn sends entries. It is safe for concurrent use.
type Conn struct {
	path string

	mu  sync.Mutex // guards what follows
	fd  int        // -1 when closed
	buf []byte
}

// Dial makes a Conn to the journal at path; empty is the system's. There need
// be no journal yet: it is looked for at every Send that finds none.
func Dial(path string) (*Conn, error) {
	if path == "" {
		path = socketPath
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// More than the limit takes CAP_NET_ADMIN; with less, long entries go as
	// files, which is slower and else the same.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	}
	c := &Conn{path: path, fd: fd}
	c.connect() // Send tries again
	return c, nil
}

func (c *Conn) connect() error {
	return unix.Connect(c.fd, &unix.SockaddrUnix{Name: c.path})
}

// Note writes one entry to the system's journal, for a process that has no more
// to say.
func Note(fields ...Field) error {
	c, err := Dial("")
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Send(fields...)
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return os.ErrClosed
	}
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

// Send writes one entry.
func (c *Conn) Send(fields ...Field) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return os.ErrClosed
	}
	c.buf = c.buf[:0]
	for _, f := range fields {
		if !ValidName(f.Name) {
			return ErrField
		}
		c.buf = Append(c.buf, f.Name, f.Value)
	}
	return c.send(c.buf)
}

// SendEncoded writes one entry that has been put together with Append, for
// callers that send the same fields with every entry.
func (c *Conn) SendEncoded(entry []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return os.ErrClosed
	}
	return c.send(entry)
}

// send sends an entry, connecting again where journald has been restarted.
// Preconditions: c.mu.
func (c *Conn) send(entry []byte) error {
	err := c.write(entry, nil)
	if err == unix.EMSGSIZE || err == unix.ENOBUFS {
		return c.sendFile(entry)
	}
	return os.NewSyscallError("sendmsg", err)
}

func (c *Conn) write(p, oob []byte) error {
	connected := false
	for {
		err := unix.Sendmsg(c.fd, p, oob, nil, unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
			continue
		case unix.ECONNREFUSED, unix.ENOTCONN, unix.EDESTADDRREQ, unix.ECONNRESET, unix.EPIPE:
			if connected {
				return err
			}
			if err := c.connect(); err != nil {
				return err
			}
			connected = true
			continue
		}
		return err
	}
}

// sendFile sends an entry that is too long for a datagram as a sealed memory
// file, which journald maps.
func (c *Conn) sendFile(entry []byte) error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(fd)
	for len(entry) > 0 {
		n, err := unix.Write(fd, entry)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		entry = entry[n:]
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	return os.NewSyscallError("sendmsg", c.write(nil, unix.UnixRights(fd)))
}

// Append adds one field to an entry. It does not check the name.
func Append(entry []byte, name string, value []byte) []byte {
	entry = append(entry, name...)
	if bytes.IndexByte(value, '\n') < 0 {
		entry = append(entry, '=')
	} else {
		entry = append(entry, '\n')
		entry = binary.LittleEndian.AppendUint64(entry, uint64(len(value)))
	}
	entry = append(entry, value...)
	return append(entry, '\n')
}

// ValidName says whether journald takes a field of that name from a client. It
// drops others without a word.
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > 64 || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	for i := range len(name) {
		b := name[i]
		if b != '_' && (b < 'A' || b > 'Z') && (b < '0' || b > '9') {
			return false
		}
	}
	return true
}

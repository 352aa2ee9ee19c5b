package logs

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Fields of our entries in the journal beside the well-known ones. The names
// are those of Docker's and Podman's drivers where they have one.
const (
	fieldID      = "CONTAINER_ID_FULL"
	fieldPartial = "CONTAINER_PARTIAL_MESSAGE"
	fieldSeq     = "CONTAINER_LOG_SEQ"   // offset of the line in its stream
	fieldEpoch   = "CONTAINER_LOG_EPOCH" // the run that the offset belongs to
)

const journalSocket = "/run/systemd/journal/socket"

// journalSink sends one datagram a line in journald's native protocol: the
// stream protocol would drop empty lines, trailing blanks and everything after
// a NUL.
type journalSink struct {
	fields []byte // the fields that do not change
	f      *os.File
	out    []byte
}

func openJournal(c Config) *journalSink {
	var b []byte
	b = appendField(b, fieldID, []byte(c.ID))
	b = appendField(b, "CONTAINER_ID", []byte(c.ID[:min(len(c.ID), 12)]))
	b = appendField(b, "CONTAINER_NAME", []byte(c.Name))
	b = appendField(b, "SYSLOG_IDENTIFIER", []byte(c.Name))
	b = appendField(b, fieldEpoch, []byte(c.Epoch))
	if c.Image != "" {
		b = appendField(b, "IMAGE_NAME", []byte(c.Image))
	}
	if c.Tag != "" {
		b = appendField(b, "CONTAINER_TAG", []byte(c.Tag))
	}
	// journald cannot read the cgroup of a sender that is gone already; and a
	// container is to be found by either of its units' names.
	for _, u := range c.Units {
		b = appendField(b, "OBJECT_SYSTEMD_UNIT", []byte(u))
	}
	return &journalSink{fields: b}
}

// appendField encodes one field (systemd.io/JOURNAL_NATIVE_PROTOCOL): text in
// one line, anything else with its length.
func appendField(b []byte, name string, value []byte) []byte {
	b = append(b, name...)
	for _, c := range value {
		if c == '\n' {
			b = append(b, '\n')
			b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
			b = append(b, value...)
			return append(b, '\n')
		}
	}
	b = append(b, '=')
	b = append(b, value...)
	return append(b, '\n')
}

func (s *journalSink) Close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

// Limit is small: a batch that a kill interrupts is sent again from its
// beginning, and a storm of kills must not keep it from ever being through.
func (s *journalSink) Limit() int { return 2 << 10 }

func (s *journalSink) Mark() (int64, error) { return 0, nil }

// Redo sends all of b again: the reader drops what it has seen.
func (s *journalSink) Redo(b Batch, _ int64) error { return s.Write(b) }

func (s *journalSink) Write(b Batch) error {
	priority := "PRIORITY=6\n"
	if b.Stream == Stderr {
		priority = "PRIORITY=3\n"
	}
	offset := b.Offset
	for data := b.Data; len(data) > 0; {
		line, n, whole := piece(data)
		out := append(s.out[:0], s.fields...)
		out = append(out, priority...)
		out = append(out, fieldSeq+"="...)
		out = strconv.AppendInt(out, offset, 10)
		out = append(out, '\n')
		if !whole {
			out = append(out, fieldPartial+"=true\n"...)
		}
		out = appendField(out, "MESSAGE", line)
		s.out = out
		if err := s.send(out); err != nil {
			return err
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// journalPatience is how long a batch waits for a journald that is not there:
// systemd holds the socket while it restarts it, so that only a stopped
// journald is waited for.
const journalPatience = 2 * time.Second

func (s *journalSink) send(datagram []byte) error {
	deadline := time.Now().Add(journalPatience)
	for {
		err := s.sendOnce(datagram)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if s.f != nil {
			s.f.Close()
			s.f = nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *journalSink) sendOnce(datagram []byte) error {
	if s.f == nil {
		if err := s.dial(); err != nil {
			return err
		}
	}
	raw, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Write(func(fd uintptr) bool {
		serr = unix.Send(int(fd), datagram, unix.MSG_NOSIGNAL)
		return serr != unix.EAGAIN && serr != unix.EINTR
	})
	if err == nil {
		err = serr
	}
	if err != nil {
		return fmt.Errorf("send to journald: %w", err)
	}
	return nil
}

func (s *journalSink) dial() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("dial journald: %w", err)
	}
	// As sd-journal(3): a burst should not wait for journald line by line.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: journalSocket}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("dial journald: %w", err)
	}
	s.f = os.NewFile(uintptr(fd), "journal")
	return nil
}

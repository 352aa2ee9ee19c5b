package logs

import (
	"fmt"
	"strconv"
	"time"

	"github.com/berthrun/berth/unit/journal"
)

// Fields of our entries in the journal beside the well-known ones. The names
// are those of Docker's and Podman's drivers where they have one.
const (
	fieldID      = "CONTAINER_ID_FULL"
	fieldPartial = "CONTAINER_PARTIAL_MESSAGE"
	fieldSeq     = "CONTAINER_LOG_SEQ"   // offset of the line in its stream
	fieldEpoch   = "CONTAINER_LOG_EPOCH" // the run that the offset belongs to
)

// journalSink sends one datagram a line in journald's native protocol: the
// stream protocol would drop empty lines, trailing blanks and everything after
// a NUL.
type journalSink struct {
	fields []byte // the fields that do not change
	conn   *journal.Conn
	out    []byte
}

func openJournal(c Config) (*journalSink, error) {
	conn, err := journal.Dial(c.Path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	var b []byte
	add := func(name, value string) {
		if value != "" {
			b = journal.Append(b, name, []byte(value))
		}
	}
	add(fieldID, c.ID)
	add("CONTAINER_ID", c.ID[:min(len(c.ID), 12)])
	add("CONTAINER_NAME", c.Name)
	add("SYSLOG_IDENTIFIER", c.Name)
	add(fieldEpoch, c.Epoch)
	add("IMAGE_NAME", c.Image)
	add("CONTAINER_TAG", c.Tag)
	// journald cannot read the cgroup of a sender that is gone already; and a
	// container is to be found by either of its units' names.
	for _, u := range c.Units {
		add("OBJECT_SYSTEMD_UNIT", u)
	}
	return &journalSink{fields: b, conn: conn}, nil
}

func (s *journalSink) Close() error { return s.conn.Close() }

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
		out = journal.Append(out, "MESSAGE", line)
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

func (s *journalSink) send(entry []byte) error {
	for deadline := time.Now().Add(journalPatience); ; time.Sleep(20 * time.Millisecond) {
		err := s.conn.SendEncoded(entry)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("write log: %w", err)
		}
	}
}

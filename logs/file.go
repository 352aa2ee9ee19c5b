package logs

import (
	"fmt"
	"os"
	"time"
)

// fileSink appends to a file in the format of Kubernetes and Podman:
//
//	2006-01-02T15:04:05.999999999+01:00 stdout F the line
//
// with P instead of F for a piece that no newline follows.
type fileSink struct {
	f   *os.File
	out []byte
}

func openFile(path string) (*fileSink, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &fileSink{f: f}, nil
}

func (s *fileSink) Close() error { return s.f.Close() }

// fileBatch makes the cost of a system call small against that of its bytes.
const fileBatch = 64 << 10

func (s *fileSink) Limit() int { return fileBatch }

// Mark is the size of the file.
func (s *fileSink) Mark() (int64, error) {
	fi, err := s.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("log: %w", err)
	}
	return fi.Size(), nil
}

func (s *fileSink) Write(b Batch) error {
	s.out = appendLines(s.out[:0], b)
	n, err := s.f.Write(s.out)
	if err == nil {
		return nil
	}
	if n > 0 {
		// Half a line would take the next one with it (a full disk has room
		// for the next one again when somebody has made it).
		if size, serr := s.Mark(); serr == nil {
			_ = s.f.Truncate(size - int64(n))
		}
	}
	return fmt.Errorf("write log: %w", err)
}

// Redo relies on appendLines being a function of the batch alone: what a
// killed process wrote is a prefix of what would be written now.
func (s *fileSink) Redo(b Batch, mark int64) error {
	size, err := s.Mark()
	if err != nil {
		return err
	}
	s.out = appendLines(s.out[:0], b)
	done := size - mark
	if done < 0 || done > int64(len(s.out)) {
		done = 0 // somebody truncated or wrote to the file
	}
	if _, err := s.f.Write(s.out[done:]); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

func appendLines(out []byte, b Batch) []byte {
	var head [64]byte
	h := b.Time.AppendFormat(head[:0], timeFormat)
	h = append(h, ' ')
	h = append(h, b.Stream.String()...)
	h = append(h, " F "...)
	flag := len(h) - 2
	for data := b.Data; len(data) > 0; {
		line, n, whole := piece(data)
		h[flag] = 'P'
		if whole {
			h[flag] = 'F'
		}
		out = append(out, h...)
		out = append(out, line...)
		out = append(out, '\n')
		data = data[n:]
	}
	return out
}

// parseLine takes one line of the file, without its newline, apart.
func parseLine(text []byte) (Entry, bool) {
	var e Entry
	stamp, rest, ok := cutSpace(text)
	if !ok {
		return e, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return e, false
	}
	name, rest, ok := cutSpace(rest)
	if !ok {
		return e, false
	}
	switch string(name) {
	case "stdout":
		e.Stream = Stdout
	case "stderr":
		e.Stream = Stderr
	default:
		return e, false
	}
	if len(rest) < 1 || rest[0] != 'F' && rest[0] != 'P' {
		return e, false
	}
	e.Time, e.Partial = t, rest[0] == 'P'
	// The flag may carry more tags after a colon (CRI); a line may be empty.
	if _, line, ok := cutSpace(rest); ok {
		e.Line = line
	} else if len(rest) > 1 {
		return e, false
	}
	return e, true
}

func cutSpace(b []byte) (before, after []byte, ok bool) {
	for i, c := range b {
		if c == ' ' {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

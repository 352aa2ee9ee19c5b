package logs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// readJournal asks journalctl: its export format keeps every byte. There is no
// other way to the journal without its C library.
func readJournal(ctx context.Context, src Source, o Options, fn func(Entry) error) error {
	r := &journalReader{id: src.ID, o: o, seen: map[string]int64{}}
	give := fn
	if o.Tail != nil {
		ring := &tail{n: *o.Tail}
		give = func(e Entry) error { ring.add(e); return nil }
		if err := r.query(ctx, give); err != nil {
			return err
		}
		for _, e := range ring.entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		give = fn
	} else if err := r.query(ctx, give); err != nil {
		return err
	}
	if !o.Follow {
		return nil
	}
	if !isClosed(o.Done) {
		if err := r.follow(ctx, give); err != nil {
			return err
		}
	}
	return r.query(ctx, give)
}

// journalReader gives each entry once, over several runs of journalctl.
type journalReader struct {
	id     string
	o      Options
	cursor string           // of the last entry given
	seen   map[string]int64 // by epoch and stream: the offset of the last line
}

func (r *journalReader) args(more ...string) []string {
	args := []string{
		"--quiet", "--no-pager", "--output=export",
		"--output-fields=MESSAGE,PRIORITY," + fieldPartial + "," + fieldSeq + "," + fieldEpoch,
	}
	if r.cursor != "" {
		args = append(args, "--after-cursor="+r.cursor)
	} else if !r.o.Since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(r.o.Since.Unix(), 10))
	}
	args = append(args, more...)
	args = append(args, fieldID+"="+r.id)
	switch {
	case r.o.Stdout && !r.o.Stderr:
		args = append(args, "PRIORITY=6")
	case r.o.Stderr && !r.o.Stdout:
		args = append(args, "PRIORITY=3")
	}
	return args
}

// query gives everything that is there.
func (r *journalReader) query(ctx context.Context, fn func(Entry) error) error {
	// journald has a queue: what was sent before this is in the journal
	// afterwards. Without the right to ask for it there may be less.
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
	var more []string
	if r.o.Tail != nil && r.cursor == "" {
		// Pieces and doubles do not count as lines: ask for some more.
		more = append(more, "--lines="+strconv.Itoa(2*max(*r.o.Tail, 0)+64))
	}
	return r.run(ctx, r.args(more...), fn)
}

// follow gives what comes until the end that o.Done tells.
func (r *journalReader) follow(ctx context.Context, fn func(Entry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-r.o.Done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := r.run(ctx, r.args("--follow", "--no-tail"), fn)
	cancel()
	<-over
	if isClosed(r.o.Done) && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (r *journalReader) run(ctx context.Context, args []string, fn func(Entry) error) error {
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	in := bufio.NewReaderSize(out, 64<<10)
	var perr error
	for perr == nil {
		perr = r.next(in, fn)
	}
	if perr == io.EOF {
		perr = nil
	} else {
		_ = cmd.Process.Kill()
	}
	werr := cmd.Wait()
	switch {
	case perr != nil && ctx.Err() == nil:
		return ignoreStop(perr)
	case ctx.Err() != nil:
		return ctx.Err()
	case werr != nil && stderr.Len() > 0:
		return fmt.Errorf("read journal: %s", strings.TrimSpace(stderr.String()))
	}
	return nil
}

// next reads one entry and gives it on if it is new and wanted.
func (r *journalReader) next(in *bufio.Reader, fn func(Entry) error) error {
	e, err := readExport(in)
	if err != nil {
		return err
	}
	r.cursor = e.cursor
	if e.seq >= 0 {
		key := e.epoch + " " + e.Stream.String()
		if last, ok := r.seen[key]; ok && e.seq <= last {
			return nil // a supervisor was killed and sent it again
		}
		r.seen[key] = e.seq
	}
	if !r.o.wants(e.Entry) {
		return nil
	}
	if !r.o.Until.IsZero() && e.Time.After(r.o.Until) {
		return errStop
	}
	return fn(e.Entry)
}

// journalEntry is an Entry with what is needed to give it once.
type journalEntry struct {
	Entry
	cursor, epoch string
	seq           int64 // -1: none
}

// maxField bounds one field's size.
const maxField = 16 << 20

// readExport reads one entry of the export format
// (systemd.io/JOURNAL_EXPORT_FORMATS).
func readExport(in *bufio.Reader) (journalEntry, error) {
	e := journalEntry{seq: -1}
	e.Stream = Stdout
	for any := false; ; any = true {
		name, value, err := readField(in)
		if err != nil {
			if err == io.EOF && any {
				err = io.ErrUnexpectedEOF
			}
			return e, err
		}
		if name == "" {
			if !any {
				continue // more than one blank line
			}
			return e, nil
		}
		switch name {
		case "__CURSOR":
			e.cursor = string(value)
		case "__REALTIME_TIMESTAMP":
			us, _ := strconv.ParseInt(string(value), 10, 64)
			e.Time = time.UnixMicro(us)
		case "MESSAGE":
			e.Line = value
		case "PRIORITY":
			if string(value) == "3" {
				e.Stream = Stderr
			}
		case fieldPartial:
			e.Partial = string(value) == "true"
		case fieldEpoch:
			e.epoch = string(value)
		case fieldSeq:
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n >= 0 {
				e.seq = n
			}
		}
	}
}

// readField reads NAME=text, or NAME, a length and as many bytes. A blank line,
// which ends an entry, is a field without a name.
func readField(in *bufio.Reader) (name string, value []byte, err error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", nil, err
	}
	line = line[:len(line)-1]
	if n, v, ok := strings.Cut(string(line), "="); ok {
		return n, []byte(v), nil
	}
	if len(line) == 0 {
		return "", nil, nil
	}
	var size [8]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return "", nil, fmt.Errorf("read journal: field %q: %w", line, err)
	}
	n := binary.LittleEndian.Uint64(size[:])
	if n > maxField {
		return "", nil, fmt.Errorf("read journal: field %q has %d bytes", line, n)
	}
	value = make([]byte, n+1)
	if _, err := io.ReadFull(in, value); err != nil {
		return "", nil, fmt.Errorf("read journal: field %q: %w", line, err)
	}
	return string(line), value[:n], nil
}

// tail keeps the last n lines.
type tail struct {
	n, lines int
	entries  []Entry
}

func (t *tail) add(e Entry) {
	e.Line = append([]byte(nil), e.Line...)
	t.entries = append(t.entries, e)
	if !e.Partial {
		t.lines++
	}
	for len(t.entries) > 0 && (t.lines > t.n || t.n <= 0) {
		if !t.entries[0].Partial {
			t.lines--
		}
		t.entries = t.entries[1:]
	}
}

package shim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/berthrun/berth/logs"
)

// recorder takes the streams from their stages to the log.
//
// Before each batch it notes, by one write(2) that a kill cannot cut in two,
// what the batch is and where the log stood. The next process finds the note,
// makes the same batch again and writes what is missing of it.
type recorder struct {
	sink logs.Sink
	note *os.File

	mu    sync.Mutex // one batch at a time: both streams end in one log
	state note
	buf   []byte
	err   error // of the last batch
}

// note is the recorder's state as it lies below /run: the batch at hand, and
// how far the log had each stream before it.
type note struct {
	taken  [2]int64 // stdout, stderr
	stream logs.Stream
	n      int64
	mark   int64
	time   time.Time
}

const (
	noteSize  = 64
	noteMagic = 0x62746831 // "bth1"
	batchMax  = 64 << 10
)

func (n *note) encode() [noteSize]byte {
	var b [noteSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], noteMagic)
	b[4] = byte(n.stream)
	le.PutUint64(b[8:], uint64(n.taken[0]))
	le.PutUint64(b[16:], uint64(n.taken[1]))
	le.PutUint64(b[24:], uint64(n.n))
	le.PutUint64(b[32:], uint64(n.mark))
	le.PutUint64(b[40:], uint64(n.time.UnixNano()))
	return b
}

func decodeNote(b []byte) (note, error) {
	var n note
	le := binary.LittleEndian
	if len(b) < noteSize || le.Uint32(b) != noteMagic {
		return n, errors.New("log position: not one")
	}
	n.stream = logs.Stream(b[4])
	n.taken = [2]int64{int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))}
	n.n, n.mark = int64(le.Uint64(b[24:])), int64(le.Uint64(b[32:]))
	n.time = time.Unix(0, int64(le.Uint64(b[40:])))
	if n.n < 0 || n.n > batchMax || n.taken[0] < 0 || n.taken[1] < 0 || n.stream > logs.Stderr {
		return note{}, errors.New("log position: damaged")
	}
	return n, nil
}

func openRecorder(sink logs.Sink, path string) (*recorder, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log position: %w", err)
	}
	return &recorder{sink: sink, note: f}, nil
}

func (r *recorder) close() error {
	r.note.Close()
	return r.sink.Close()
}

// taken is how far the log has s.
func (st *note) position(s logs.Stream) *int64 { return &st.taken[s-1] }

// recover goes on where a killed process was.
func (r *recorder) recover(streams map[logs.Stream]*stream) error {
	var b [noteSize]byte
	if n, _ := r.note.ReadAt(b[:], 0); n == 0 {
		return nil // it had logged nothing
	}
	st, err := decodeNote(b[:])
	if err != nil {
		return err
	}
	r.state = st
	s := streams[st.stream]
	if s == nil || st.n == 0 {
		return nil
	}
	pos := r.state.position(st.stream)
	data := r.buffer(st.n)[:st.n]
	if _, err := s.stage.ReadAt(data, *pos); err != nil {
		return fmt.Errorf("recover log: %w", err)
	}
	err = r.sink.Redo(logs.Batch{Stream: st.stream, Offset: *pos, Time: st.time, Data: data}, st.mark)
	*pos += st.n
	r.state.n = 0
	return err
}

// take logs what s has beyond the last batch, at its end all of it, and
// returns how far the log is. An error of the log is kept for those who ask;
// the container goes on.
func (r *recorder) take(s *stream, end bool) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	pos := r.state.position(s.id)
	for *pos < s.size {
		want := min(s.size-*pos, batchMax)
		data := r.buffer(want)[:want]
		if _, err := s.stage.ReadAt(data, *pos); err != nil {
			r.err = fmt.Errorf("log: %w", err)
			return *pos
		}
		data = data[:logs.Cut(data, end && *pos+want == s.size)]
		if len(data) == 0 {
			break
		}
		for len(data) > 0 {
			n := logs.Split(data, r.sink.Limit())
			r.err = r.write(s, data[:n])
			*pos += int64(n)
			data = data[n:]
		}
	}
	return *pos
}

func (r *recorder) write(s *stream, data []byte) error {
	mark, err := r.sink.Mark()
	if err != nil {
		return err
	}
	r.state.stream, r.state.n, r.state.mark, r.state.time = s.id, int64(len(data)), mark, time.Now()
	b := r.state.encode()
	if _, err := r.note.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("log position: %w", err)
	}
	return r.sink.Write(logs.Batch{Stream: s.id, Offset: *r.state.position(s.id), Time: r.state.time, Data: data})
}

// buffer returns at least n bytes, no more than the flow has needed so far: a
// container that says little costs little.
func (r *recorder) buffer(n int64) []byte {
	if int64(len(r.buf)) < n {
		r.buf = make([]byte, max(n, 4096))
	}
	return r.buf
}

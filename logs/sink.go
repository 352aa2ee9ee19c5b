package logs

import (
	"bytes"
	"fmt"
	"time"
)

// Batch is a run of whole lines of one stream: as much as [Cut] takes.
type Batch struct {
	Stream Stream
	Offset int64 // of the first byte of Data since the stream began
	Time   time.Time
	Data   []byte
}

// Sink takes batches. It is used by one goroutine at a time.
type Sink interface {
	// Limit is about how many bytes of data a batch should have at most.
	Limit() int
	// Mark returns what Redo needs to know about the time before a Write.
	Mark() (int64, error)
	// Write logs b. After an error b is lost and the sink goes on.
	Write(b Batch) error
	// Redo logs what is missing of b, of which a killed process wrote an
	// unknown part after it was given mark. Where the sink cannot tell it
	// logs all of b again, and its reader drops doubles.
	Redo(b Batch, mark int64) error
	Close() error
}

// Config is what a sink needs to know about its container.
type Config struct {
	Driver string
	Path   string // k8s-file: the file; journald: its socket, empty for the system's
	// Identity of the container, for the journal.
	ID, Name, Image, Tag string
	Units                []string // names of the units it may run in
	Epoch                string   // identifies the run that offsets belong to
}

// Open returns the sink that c names. A driver unknown to this build is an
// [UnsupportedError].
func Open(c Config) (Sink, error) {
	switch c.Driver {
	case K8sFile:
		return openFile(c.Path)
	case Journald, "":
		return openJournal(c)
	case None:
		return discard{}, nil
	}
	return nil, fmt.Errorf("open log: %w", &UnsupportedError{c.Driver})
}

type discard struct{}

func (discard) Limit() int              { return fileBatch }
func (discard) Mark() (int64, error)    { return 0, nil }
func (discard) Write(Batch) error       { return nil }
func (discard) Redo(Batch, int64) error { return nil }
func (discard) Close() error            { return nil }

// Cut returns how many bytes of data, the rest of a stream that is not logged
// yet, are whole lines or pieces of MaxLine. At the end of the stream that is
// all of it.
func Cut(data []byte, eof bool) int {
	if eof {
		return len(data)
	}
	n := bytes.LastIndexByte(data, '\n') + 1
	rest := len(data) - n
	return n + rest/MaxLine*MaxLine
}

// Split returns how many bytes of data, which Cut took, make a batch of about
// limit bytes: whole lines or pieces, at least one.
func Split(data []byte, limit int) int {
	if len(data) <= limit {
		return len(data)
	}
	if n := bytes.LastIndexByte(data[:limit], '\n') + 1; n > 0 {
		return n
	}
	_, n, _ := piece(data)
	return n
}

// piece returns the first line of data or the first piece of it, the bytes it
// takes in data, and whether a newline was among them.
func piece(data []byte) (line []byte, n int, whole bool) {
	window := data[:min(len(data), MaxLine+1)]
	if i := bytes.IndexByte(window, '\n'); i >= 0 {
		return data[:i], i + 1, true
	}
	n = min(len(data), MaxLine)
	return data[:n], n, false
}

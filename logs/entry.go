package logs

import (
	"context"
	"fmt"
	"time"
)

// Names of drivers.
const (
	Journald = "journald"
	K8sFile  = "k8s-file"
	None     = "none"
)

// MaxLine is the longest line kept in one piece, as Docker and Podman have it.
const MaxLine = 16 << 10

// Stream is one of a container's two outputs.
type Stream uint8

// The streams. A terminal's output is Stdout.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	}
	return fmt.Sprintf("stream %d", uint8(s))
}

// Entry is one line of a log.
type Entry struct {
	Time    time.Time
	Stream  Stream
	Line    []byte // without its newline; valid until the function it was given to returns
	Partial bool   // no newline follows: the next entry of the stream goes on
}

// Source says which log to read.
type Source struct {
	Driver string
	ID     string // the container's full ID
	Path   string // k8s-file
}

// Options select entries. The zero value selects nothing of either stream.
type Options struct {
	Stdout, Stderr bool
	Tail           *int // the last lines only; nil: all
	Since, Until   time.Time
	// Follow waits for more. Done, closed by the caller when the container
	// has ended, lets Read return once it has given everything.
	Follow bool
	Done   <-chan struct{}
}

// UnsupportedError says that a driver's log cannot be read.
type UnsupportedError struct{ Driver string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("log driver %q: its logs cannot be read", e.Driver)
}

// Read calls fn for each entry that o selects, oldest first, until the end of
// the log, an error of fn, or the end of ctx.
func Read(ctx context.Context, src Source, o Options, fn func(Entry) error) error {
	switch src.Driver {
	case K8sFile:
		return readFile(ctx, src, o, fn)
	case Journald, "":
		return readJournal(ctx, src, o, fn)
	}
	return &UnsupportedError{src.Driver}
}

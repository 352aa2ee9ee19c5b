package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// startWatch hears from the shim how a start ends, over a FIFO in the run's
// directory. That spares a connection to systemd for the time of the start:
// each open one is sent every signal of every unit, and eight clients that
// start containers at once would be told eight times what each does. (inotify
// would do too, but to close it takes the kernel some milliseconds.)
type startWatch struct{ f *os.File }

// watchStart makes the FIFO in dir.
func watchStart(dir string) (*startWatch, error) {
	path := filepath.Join(dir, container.ReadyFile)
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	// Opened for writing too, it has no end before somebody has written.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &startWatch{f}, nil
}

func (w *startWatch) Close() error { return w.f.Close() }

// errNoStart: the shim has given up before the container ran.
var errNoStart = errors.New("the container did not start")

// wait returns nil when the container runs, errNoStart when it will not, and
// os.ErrDeadlineExceeded when neither was heard in time.
func (w *startWatch) wait(ctx context.Context, within time.Duration) error {
	if err := w.f.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var word [1]byte
	_, err := w.f.Read(word[:])
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case word[0] == container.ReadyStarted:
		return nil
	}
	return errNoStart
}

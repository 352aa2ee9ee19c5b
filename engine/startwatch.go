package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// startWatch sees the start of a run in the run's directory: the shim writes
// container.StartedFile when the container runs, and removes the directory when
// it came to nothing. That spares a connection to systemd for the time of the
// start: each open one is sent every signal of every unit, and eight clients
// that start containers at once would be told eight times what each does.
type startWatch struct {
	f *os.File // inotify(7)
}

func watchStart(dir string) (*startWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_DELETE_SELF|unix.IN_ONLYDIR); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &startWatch{os.NewFile(uintptr(fd), "inotify")}, nil
}

func (w *startWatch) Close() error { return w.f.Close() }

// errNoStart: the run's directory went away before the container ran.
var errNoStart = errors.New("the container did not start")

// wait returns nil when the container runs, errNoStart when it will not, and
// os.ErrDeadlineExceeded when neither was seen in time.
func (w *startWatch) wait(ctx context.Context, within time.Duration) error {
	if err := w.f.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 4096)
	for {
		n, err := w.f.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		switch started, gone := startEvents(buf[:n]); {
		case started:
			return nil
		case gone:
			return errNoStart
		}
	}
}

// startEvents looks through what inotify(7) has to say.
func startEvents(buf []byte) (started, gone bool) {
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := int(binary.NativeEndian.Uint32(buf[12:]))
		buf = buf[unix.SizeofInotifyEvent:]
		if size > len(buf) {
			return started, gone
		}
		name := strings.TrimRight(string(buf[:size]), "\x00")
		buf = buf[size:]
		switch {
		case mask&unix.IN_MOVED_TO != 0 && name == container.StartedFile:
			started = true
		case mask&(unix.IN_DELETE_SELF|unix.IN_IGNORED|unix.IN_Q_OVERFLOW) != 0:
			gone = true
		}
	}
	return started, gone
}

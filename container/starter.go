package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A client that starts a container hears over a FIFO in the container's
// directory how that ends: one each, so that several may try at once. Such a
// file whose maker is dead has no reader.
const (
	starterPrefix  = "start-"  // hears how it ends
	attacherPrefix = "attach-" // and will attach before the command runs

	wordStarted = 's'
	wordFailed  = 'f'
)

// ErrNoStart: the shim has given up before the container ran.
var ErrNoStart = errors.New("the container did not start")

// Starter is the client's end.
type Starter struct {
	dir  *os.File
	fifo *os.File
	name string
}

// NewStarter is called before systemd is asked to start container id, which
// may be prepared only. attach says that the caller will attach to it, and
// that its command is to wait for that.
func (s *Store) NewStarter(id string, attach bool) (*Starter, error) {
	dir, err := os.Open(s.pending(id))
	if errors.Is(err, fs.ErrNotExist) {
		dir, err = os.Open(s.Dir(id))
	}
	if err != nil {
		return nil, fmt.Errorf("start container %s: %w", id, err)
	}
	w := &Starter{dir: dir, name: starterPrefix}
	if attach {
		w.name = attacherPrefix
	}
	w.name += NewID()[:16]
	// By descriptor: the shim gives the directory its last name meanwhile.
	fd, err := w.make()
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("start container %s: make %s: %w", id, w.name, err)
	}
	w.fifo = os.NewFile(uintptr(fd), w.name)
	return w, nil
}

func (w *Starter) make() (fd int, err error) {
	err = control(w.dir, func(dir int) error {
		if err := unix.Mkfifoat(dir, w.name, 0o600); err != nil {
			return err
		}
		// Open for writing too, it has no end before somebody has written.
		fd, err = unix.Openat(dir, w.name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// Close ends the wait and removes the FIFO.
func (w *Starter) Close() error {
	err := control(w.dir, func(dir int) error { return unix.Unlinkat(dir, w.name, 0) })
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the shim was done with it
	}
	return errors.Join(err, w.fifo.Close(), w.dir.Close())
}

// Wait returns nil when the container runs, ErrNoStart when it will not, and
// os.ErrDeadlineExceeded when neither was heard in time.
func (w *Starter) Wait(ctx context.Context, within time.Duration) error {
	if err := w.fifo.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.fifo.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var word [1]byte
	_, err := w.fifo.Read(word[:])
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case word[0] == wordStarted:
		return nil
	}
	return ErrNoStart
}

// Starters are the clients that wait for a start: the shim's end.
type Starters struct {
	dir      string
	names    []string
	fifos    []int
	attacher int // index of one that will attach, or -1
}

// Starters finds who waits for the start of container id.
func (s *Store) Starters(id string) *Starters {
	w := &Starters{dir: s.Dir(id), attacher: -1}
	d, err := os.Open(w.dir)
	if err != nil {
		return w
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		attach := strings.HasPrefix(name, attacherPrefix)
		if !attach && !strings.HasPrefix(name, starterPrefix) {
			continue
		}
		path := filepath.Join(w.dir, name)
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			_ = os.Remove(path) // its maker is dead
			continue
		}
		if attach {
			w.attacher = len(w.fifos)
		}
		w.fifos, w.names = append(w.fifos, fd), append(w.names, name)
	}
	return w
}

// Attaching says whether a client that will attach is there. It may have died
// since it was last asked.
func (w *Starters) Attaching() bool {
	if w.attacher < 0 {
		return false
	}
	p := []unix.PollFd{{Fd: int32(w.fifos[w.attacher])}}
	_, _ = unix.Poll(p, 0)
	return p[0].Revents&unix.POLLERR == 0
}

// Tell says whether the container runs to those who wait for it. It does so
// once.
func (w *Starters) Tell(started bool) {
	if w == nil {
		return
	}
	word := []byte{wordFailed}
	if started {
		word[0] = wordStarted
	}
	for i, fd := range w.fifos {
		_, _ = unix.Write(fd, word)
		unix.Close(fd)
		_ = os.Remove(filepath.Join(w.dir, w.names[i]))
	}
	w.fifos, w.names, w.attacher = nil, nil, -1
}

// control calls do with f's descriptor, as (*os.File).Fd would give it but for
// its making the file a blocking one.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

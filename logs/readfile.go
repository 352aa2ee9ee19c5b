package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func readFile(ctx context.Context, src Source, o Options, fn func(Entry) error) error {
	r := &fileReader{path: src.Path, o: o, fn: fn}
	defer r.close()
	var w *watch
	if o.Follow {
		var err error
		// The directory: the file may not be there yet.
		if w, err = watchDir(filepath.Dir(src.Path)); err != nil {
			return fmt.Errorf("follow log: %w", err)
		}
		defer w.close()
	}
	for {
		ended := !o.Follow || isClosed(o.Done) // before the read: it may write until then
		if err := r.catchUp(ctx); err != nil || ended {
			return ignoreStop(err)
		}
		if err := w.wait(ctx, o.Done); err != nil {
			return fmt.Errorf("follow log: %w", err)
		}
	}
}

// errStop ends a reading before the end of the log.
var errStop = errors.New("enough read")

func ignoreStop(err error) error {
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// fileReader gives what has been added to a file since it looked last.
type fileReader struct {
	path string
	o    Options
	fn   func(Entry) error

	f    *os.File
	in   *bufio.Reader
	half []byte // a line whose end is not written yet
}

func (r *fileReader) close() {
	if r.f != nil {
		r.f.Close()
	}
}

func (r *fileReader) open() error {
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was said so far
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.f, r.in = f, bufio.NewReaderSize(f, 64<<10)
	if r.o.Tail == nil {
		return nil
	}
	pos, err := tailStart(f, r.o, *r.o.Tail)
	if err == nil {
		_, err = f.Seek(pos, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

func (r *fileReader) catchUp(ctx context.Context) error {
	if r.f == nil {
		if err := r.open(); err != nil || r.f == nil {
			return err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := r.in.ReadSlice('\n')
		if err == nil && len(r.half) == 0 {
			if err := r.give(text[:len(text)-1]); err != nil {
				return err
			}
			continue
		}
		r.half = append(r.half, text...)
		switch {
		case err == nil:
			err := r.give(r.half[:len(r.half)-1])
			r.half = r.half[:0]
			if err != nil {
				return err
			}
		case err == io.EOF:
			return nil
		case err != bufio.ErrBufferFull:
			return fmt.Errorf("read log: %w", err)
		}
	}
}

// give hands one line of the file on. What is no entry is passed over: the file
// is an administrator's to edit.
func (r *fileReader) give(text []byte) error {
	e, ok := parseLine(text)
	if !ok || !r.o.wants(e) {
		return nil
	}
	if !r.o.Until.IsZero() && e.Time.After(r.o.Until) {
		return errStop
	}
	return r.fn(e)
}

// wants says whether o selects e, but for the end of the time.
func (o *Options) wants(e Entry) bool {
	return (e.Stream == Stdout && o.Stdout || e.Stream == Stderr && o.Stderr) && !e.Time.Before(o.Since)
}

// tailStart returns where the last n lines that o selects begin, looking from
// the end. Pieces count with the line that they belong to.
func tailStart(f io.ReaderAt, o Options, n int) (int64, error) {
	size, err := fileSize(f)
	if err != nil {
		return 0, err
	}
	const block = 64 << 10
	end := size
	var tail []byte // from end on: the line that the block before it ends in
	lines, last := 0, true
	for end > 0 {
		start := max(end-block, 0)
		data := make([]byte, end-start, end-start+int64(len(tail)))
		if _, err := f.ReadAt(data, start); err != nil && err != io.EOF {
			return 0, err
		}
		data = append(data, tail...)
		// Whole lines of data, from its end.
		for stop := len(data); stop > 0; {
			begin := bytes.LastIndexByte(data[:stop-1], '\n') + 1
			if begin == 0 && start > 0 {
				tail = data[:stop:stop]
				data = nil
				break
			}
			e, ok := parseLine(bytes.TrimSuffix(data[begin:stop], []byte("\n")))
			if ok && o.wants(e) {
				if !e.Partial || last {
					if lines++; lines > n {
						return start + int64(stop), nil
					}
				}
				last = false
			}
			stop = begin
			tail = nil
		}
		end = start
	}
	return 0, nil
}

func fileSize(f io.ReaderAt) (int64, error) {
	if s, ok := f.(interface{ Stat() (fs.FileInfo, error) }); ok {
		fi, err := s.Stat()
		if err != nil {
			return 0, err
		}
		return fi.Size(), nil
	}
	if s, ok := f.(interface{ Size() int64 }); ok {
		return s.Size(), nil
	}
	return 0, errors.New("size of log: unknown")
}

// watch waits for changes in a directory.
type watch struct{ f *os.File }

func watchDir(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &watch{os.NewFile(uintptr(fd), "inotify")}, nil
}

func (w *watch) close() { w.f.Close() }

// wait returns after a change, when done is closed, or with the error of ctx.
func (w *watch) wait(ctx context.Context, done <-chan struct{}) error {
	over := make(chan struct{})
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		select {
		case <-ctx.Done():
		case <-done:
		case <-over:
			return
		}
		_ = w.f.SetReadDeadline(time.Unix(1, 0))
	}()
	var events [4096]byte
	_, err := w.f.Read(events[:])
	close(over)
	<-woken
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

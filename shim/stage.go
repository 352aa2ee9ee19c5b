package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/logs"
)

const (
	// moveMax is how much one splice moves: a pipe's default capacity.
	moveMax = 64 << 10
	// retain is how much of what everybody has taken stays in the stage: a
	// client that was cut off by our death finds there what it missed.
	retain = 64 << 10
	// window is how far a client may be behind before the container waits for it.
	window = 256 << 10
	// fullPause is how long a full file system is left alone.
	fullPause = 100 * time.Millisecond
)

// stream is one output of the container: a pipe, drained into a stage.
type stream struct {
	id  logs.Stream
	src *os.File // the pipe's read end
	// stage is written by splice only. What it holds survives this process.
	stage *os.File

	mu        sync.Mutex
	changed   sync.Cond // anything below
	unread    *os.File  // /dev/null, while nobody has any use for what comes: see discard
	size      int64     // bytes taken from the pipe since the container began
	done      bool      // there will be no more
	punched   int64     // bytes that are not kept any more
	followers map[*follower]struct{}
}

// follower is one client that the stream is copied to.
type follower struct {
	dst  *os.File
	pos  int64
	quit bool // set by whoever wants it to end
	over chan struct{}
}

func openStream(id logs.Stream, src *os.File, path string) (*stream, error) {
	stage, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open stage: %w", err)
	}
	fi, err := stage.Stat()
	if err != nil {
		stage.Close()
		return nil, fmt.Errorf("open stage: %w", err)
	}
	s := &stream{id: id, src: src, stage: stage, size: fi.Size(), followers: map[*follower]struct{}{}}
	s.changed.L = &s.mu
	// What an earlier process has given back is a hole.
	s.punched = s.size
	if err := control(stage, func(fd int) {
		if off, err := unix.Seek(fd, 0, unix.SEEK_DATA); err == nil {
			s.punched = off
		}
	}); err != nil {
		stage.Close()
		return nil, fmt.Errorf("open stage: %w", err)
	}
	return s, nil
}

// pump moves bytes until the pipe's last writer is gone, or until the deadline
// of src. log is told after each move.
//
// splice(2) takes bytes out of the pipe by the same system call that puts them
// into the stage, and a kill takes effect only at its end: no byte is ever
// nowhere, and the stage's size says how many there have been.
func (s *stream) pump(log *recorder) error {
	raw, err := s.src.SyscallConn()
	if err != nil {
		return err
	}
	stage, err := s.stage.SyscallConn()
	if err != nil {
		return err
	}
	for {
		s.waitForRoom()
		var n, gone int64
		var serr error
		err := raw.Read(func(in uintptr) bool {
			var ok bool
			if gone, ok, serr = s.discard(int(in)); ok {
				return serr != unix.EAGAIN && serr != unix.EINTR
			}
			cerr := stage.Control(func(out uintptr) {
				off := s.size
				n, serr = unix.Splice(int(in), nil, int(out), &off, moveMax, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			})
			if cerr != nil {
				serr = cerr
			}
			return serr != unix.EAGAIN && serr != unix.EINTR
		})
		if err == nil {
			err = serr
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			// /run is full: the container waits, as it would for a slow
			// client, until there is room.
			time.Sleep(fullPause)
			continue
		}
		s.mu.Lock()
		n = max(n, 0) // -1 with an error
		s.size += n
		s.done = err != nil || n+gone == 0
		done := s.done
		s.changed.Broadcast()
		s.mu.Unlock()
		if gone == 0 {
			s.punch(log.take(s, done))
		}
		if done {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil // somebody outside the container holds the pipe
			}
			return err
		}
	}
}

// discardUnread has the stream thrown away until somebody follows it. Only for
// a run without a log, and by the process that begins it: of a later one nobody
// knows which client is about to come back for what it missed.
func (s *stream) discardUnread() error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("discard output: %w", err)
	}
	s.unread = null
	return nil
}

// discard moves what is in the pipe to nowhere. ok is false where it is to be
// kept. It moves under the lock: a follower gets all that comes after it.
func (s *stream) discard(in int) (n int64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread == nil {
		return 0, false, nil
	}
	n, err = unix.Splice(in, nil, int(rawFD(s.unread)), nil, moveMax, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	n = max(n, 0)
	s.size += n
	return n, true, err
}

// keepAll ends discarding. The stage gets a hole for what was discarded: its
// size still says how many bytes there have been.
// Preconditions: s.mu is held.
func (s *stream) keepAll() {
	if s.unread == nil {
		return
	}
	s.unread.Close()
	s.unread = nil
	_ = s.stage.Truncate(s.size)
	s.punched = s.size
}

// finish lets the followers end at what there is; for a stream with no pump.
func (s *stream) finish() {
	s.mu.Lock()
	s.done = true
	s.changed.Broadcast()
	s.mu.Unlock()
}

// waitForRoom holds the container back while a client is too far behind.
func (s *stream) waitForRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size-s.slowest(s.size) > window {
		s.changed.Wait()
	}
}

func (s *stream) slowest(pos int64) int64 {
	for f := range s.followers {
		pos = min(pos, f.pos)
	}
	return pos
}

// punch gives back what the log and all followers have taken.
func (s *stream) punch(taken int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := (s.slowest(taken) - retain) &^ (retain - 1)
	if keep <= s.punched {
		return
	}
	err := control(s.stage, func(fd int) {
		// An error costs memory only.
		_ = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.punched, keep-s.punched)
	})
	if err == nil {
		s.punched = keep
	}
}

// follow copies the stream to dst, which it takes over, from the offset on, or
// where that is nil from now on. It returns the offset it begins at.
func (s *stream) follow(dst *os.File, offset *int64) (*follower, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepAll()
	f := &follower{dst: dst, pos: s.size, over: make(chan struct{})}
	if offset != nil {
		f.pos = min(max(*offset, s.punched), s.size)
	}
	s.followers[f] = struct{}{}
	start := f.pos
	go func() {
		defer close(f.over)
		s.copyTo(f)
		f.dst.Close()
	}()
	return f, start
}

// unfollow ends f. It does not wait.
func (s *stream) unfollow(f *follower) {
	s.mu.Lock()
	f.quit = true
	s.changed.Broadcast()
	s.mu.Unlock()
	f.dst.Close() // and a write that waits
}

// copyTo is a follower's goroutine.
func (s *stream) copyTo(f *follower) {
	defer func() {
		s.mu.Lock()
		delete(s.followers, f)
		s.changed.Broadcast()
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		for f.pos >= s.size && !s.done && !f.quit {
			s.changed.Wait()
		}
		n := s.size - f.pos
		quit := f.quit
		s.mu.Unlock()
		if quit || n == 0 {
			return
		}
		sent, err := s.sendTo(f.dst, f.pos, min(n, moveMax))
		s.mu.Lock()
		f.pos += sent
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return // the client has gone; its connection tells that too
		}
	}
}

// sendTo copies n bytes of the stage at off to dst.
func (s *stream) sendTo(dst *os.File, off, n int64) (int64, error) {
	raw, err := dst.SyscallConn()
	if err != nil {
		return 0, err
	}
	stage, err := s.stage.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sent int
	var serr error
	err = raw.Write(func(out uintptr) bool {
		cerr := stage.Control(func(in uintptr) {
			pos := off
			sent, serr = unix.Sendfile(int(out), int(in), &pos, int(n))
		})
		if cerr != nil {
			serr = cerr
		}
		return serr != unix.EAGAIN && serr != unix.EINTR
	})
	if err == nil {
		err = serr
	}
	if errors.Is(err, unix.EINVAL) {
		// A file opened for appending, or a device that cannot be spliced to.
		return io.Copy(dst, io.NewSectionReader(s.stage, off, n))
	}
	return int64(max(sent, 0)), err
}

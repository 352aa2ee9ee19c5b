package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalError is the cause of a context that a signal ended.
type signalError struct{ sig syscall.Signal }

func (e signalError) Error() string { return "interrupted by " + unix.SignalName(e.sig) }

// Is makes it the cancellation that it is, wherever it comes back from.
func (e signalError) Is(target error) bool { return target == context.Canceled }

// interruptible returns a context that SIGINT, SIGTERM and SIGHUP end, so that a
// verb takes back what it has begun. A second signal kills as usual. release
// ends this; it may be called more than once.
func interruptible(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() { // ends with release
		select {
		case sig := <-ch:
			signal.Stop(ch)
			cancel(signalError{sig.(syscall.Signal)})
		case <-done:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(ch)
		close(done)
	})
}

// signalQueue is what comes in for a process in the foreground.
type signalQueue struct {
	ch     chan os.Signal
	caught chan struct{} // closed when early is through
	done   chan struct{} // closed by stop
	once   sync.Once
}

// expectSignals begins to catch signals for a process that is being started,
// as far as they mean nothing to a berth that has no process yet. Each costs
// Go's runtime a handshake between threads, all sixty of them two milliseconds:
// they are to pass while systemd works, and before the process can be seen to
// run. What comes before the queue is handled waits in it.
func expectSignals() *signalQueue {
	q := &signalQueue{ch: make(chan os.Signal, 128), caught: make(chan struct{}), done: make(chan struct{})}
	go func() { // ends by itself
		defer close(q.caught)
		var list []os.Signal
		for n := syscall.Signal(1); n <= 64; n++ {
			switch n {
			case syscall.SIGKILL, syscall.SIGSTOP, 32, 33: // the last are the C library's own
			case syscall.SIGTTIN, syscall.SIGTTOU: // of a background job at the terminal: caught, they would come without end
			case syscall.SIGPIPE: // a client without a process ends by it as anybody does
			case syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGTSTP: // see catch
			default:
				list = append(list, n)
			}
		}
		signal.Notify(q.ch, list...)
	}()
	return q
}

// catch takes the rest, which meant berth until now: the process is there.
func (q *signalQueue) catch() {
	signal.Notify(q.ch, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGTSTP, syscall.SIGPIPE)
	<-q.caught
}

// stop ends the handling. The signals stay caught: this process is about to
// end, and to let go of each is a handshake again.
func (q *signalQueue) stop() { q.once.Do(func() { close(q.done) }) }

// handleSignals is the foreground's answer to them: to hand them on, or, where
// the process has our terminal and with it our ctrl-c, to look after that.
func (f *foreground) handleSignals(ctx context.Context, q *signalQueue) {
	for {
		var sig syscall.Signal
		select {
		case s := <-q.ch:
			sig = s.(syscall.Signal)
		case <-q.done:
			return
		}
		switch {
		case sig == syscall.SIGCHLD || sig == syscall.SIGURG || sig == syscall.SIGPIPE:
			// Ours: of no child of the process's, Go's own, and told by write(2).
		case sig == syscall.SIGWINCH && f.session.TTY:
			f.resize(ctx)
		case sig == syscall.SIGCONT && f.term != nil:
			// The shell set its own mode while we were stopped.
			_ = f.term.raw()
			f.resize(ctx)
		case f.proxy && f.term == nil:
			if f.session.Signal(ctx, sig) != nil && deadly(sig) {
				f.leave(status(128 + int(sig))) // it has ended; its output has not, and nobody takes it
			}
		case sig == syscall.SIGTSTP:
			f.stopSelf()
		case deadly(sig):
			f.leave(status(128 + int(sig)))
		}
	}
}

// stopSelf does what ctrl-z does to a process that does not catch it.
func (f *foreground) stopSelf() {
	if f.term != nil {
		f.term.restore()
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
}

// deadly signals end a process that does not care.
func deadly(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM:
		return true
	}
	return false
}

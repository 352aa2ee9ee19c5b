package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

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
	ch   chan os.Signal
	sent chan struct{} // closed when sentSignals are caught
	done chan struct{} // closed by stop
	once sync.Once
	rest *time.Timer
}

// Each signal that is caught costs Go's runtime a handshake between threads,
// all sixty of them two milliseconds. So they are caught in three parts.
var (
	// sentSignals are what people send to services, and mean nothing to a berth
	// without a process: they are caught while systemd starts it.
	sentSignals = []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGALRM, syscall.SIGIO, syscall.SIGPWR}
	// turnSignals mean berth until the process is there, and the process then.
	turnSignals = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGTSTP, syscall.SIGPIPE}
)

// restDelay is when all others are caught, if the process still runs then.
const restDelay = 20 * time.Millisecond

// expectSignals begins to catch signals for a process that is being started.
// What comes before the queue is handled waits in it.
func expectSignals() *signalQueue {
	q := &signalQueue{ch: make(chan os.Signal, 128), sent: make(chan struct{}), done: make(chan struct{})}
	go func() { // ends by itself
		signal.Notify(q.ch, sentSignals...)
		close(q.sent)
	}()
	return q
}

// catch takes the signals that are the process's now. It comes before the first
// byte of the process is shown: who has seen that may send one.
func (q *signalQueue) catch() {
	signal.Notify(q.ch, turnSignals...)
	<-q.sent
	q.rest = time.AfterFunc(restDelay, func() {
		var list []os.Signal
		for n := syscall.Signal(1); n <= 64; n++ {
			switch n {
			case syscall.SIGKILL, syscall.SIGSTOP, 32, 33: // the last are the C library's own
			case syscall.SIGTTIN, syscall.SIGTTOU: // of a background job at the terminal: caught, they would come without end
			default:
				list = append(list, n)
			}
		}
		signal.Notify(q.ch, list...)
	})
}

// stop ends the handling. The signals stay caught: this process is about to
// end, and to let go of each is a handshake again.
func (q *signalQueue) stop() {
	q.once.Do(func() {
		q.rest.Stop()
		close(q.done)
	})
}

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

package shim

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Go's runtime registers a signal at the price of two switches between threads,
// 0.1 ms: those that a start needs come first, with those that would end this
// process in a way that systemd takes for a clean one (SIGINT, SIGHUP) and those
// that people send; the others when the container runs. One of these before
// that kills the shim, and the next one takes over.
var (
	ownSignals = []os.Signal{unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2}

	// moreSignals, and of ownSignals those that are not the shim's own affair,
	// are handed on to the container's init. SIGRTMIN+0 to +6 are commands to a
	// systemd in the container; the C library's SIGRTMIN is 34.
	moreSignals = []os.Signal{
		unix.SIGQUIT, unix.SIGALRM, unix.SIGCONT, unix.SIGWINCH, unix.SIGPWR,
		syscall.Signal(34), syscall.Signal(35), syscall.Signal(36), syscall.Signal(37),
		syscall.Signal(38), syscall.Signal(39), syscall.Signal(40),
	}
)

// maxSignal is the greatest number that a signal has.
const maxSignal = 64

// catchSignals starts the goroutine that signals come to, for the life of the
// process, and returns its channel.
func catchSignals(s *shim) chan<- os.Signal {
	ch := make(chan os.Signal, 32)
	signal.Notify(ch, ownSignals...)
	go func() {
		for sig := range ch {
			switch sig {
			case unix.SIGCHLD:
				s.kids.reap()
			case unix.SIGTERM, unix.SIGINT:
				s.askStop()
			default:
				s.forward(sig.(syscall.Signal))
			}
		}
	}()
	return ch
}

func (s *shim) forward(sig syscall.Signal) {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running {
		_ = s.init.signal(sig)
	}
}

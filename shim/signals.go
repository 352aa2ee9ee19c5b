package shim

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// signals is the goroutine that everything asynchronous comes through.
type signals struct {
	ch   chan os.Signal
	done chan struct{}
}

// forwarded are handed on to the container's init. SIGRTMIN+3 and its
// neighbours are commands to a systemd in the container.
var forwarded = []syscall.Signal{
	unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT,
	unix.SIGWINCH, unix.SIGIO, unix.SIGPWR, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU,
}

// Real-time signals as the C libraries number them: glibc's SIGRTMIN is 34.
const (
	sigRTMin = 34
	sigRTMax = 64
)

func catchSignals(s *shim) *signals {
	g := &signals{ch: make(chan os.Signal, 32), done: make(chan struct{})}
	list := []os.Signal{unix.SIGCHLD, unix.SIGTERM, unix.SIGINT}
	for _, sig := range forwarded {
		list = append(list, sig)
	}
	for n := sigRTMin; n <= sigRTMax; n++ {
		list = append(list, syscall.Signal(n))
	}
	signal.Notify(g.ch, list...)
	go func() {
		defer close(g.done)
		for sig := range g.ch {
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
	return g
}

func (g *signals) close() {
	signal.Stop(g.ch)
	close(g.ch)
	<-g.done
}

func (s *shim) forward(sig syscall.Signal) {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running {
		_ = s.init.signal(sig)
	}
}

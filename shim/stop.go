package shim

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/unit/notify"
)

// askStop is what SIGTERM does. The first one counts.
func (s *shim) askStop() {
	s.mu.Lock()
	first := !s.stopping
	s.stopping = true
	running := s.running
	if first {
		close(s.stop)
	}
	s.mu.Unlock()
	if first && running {
		s.sendStop()
	}
}

func (s *shim) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// sendStop asks init to end and kills it when its time is over.
func (s *shim) sendStop() {
	s.tell(notify.Stopping, notify.Status("stopping"))
	sig := unix.Signal(s.rec.StopSignal)
	if sig == 0 {
		sig = unix.SIGTERM
	}
	_ = s.init.signal(sig)
	time.AfterFunc(s.store.StopTimeout(s.rec), func() {
		_ = s.init.signal(unix.SIGKILL)
	})
}

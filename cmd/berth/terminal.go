package main

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// terminal is the user's terminal while a container has it.
type terminal struct {
	fd int

	mu    sync.Mutex  // guards what follows
	saved *term.State // nil: as the user left it
}

// newTerminal returns f's terminal, nil where f is none.
func newTerminal(f *os.File) *terminal {
	if !isTerminal(f) {
		return nil
	}
	return &terminal{fd: int(f.Fd())}
}

// raw hands every key to the container, ctrl-c too. The mode to go back to is
// that of the first call.
func (t *terminal) raw() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	saved, err := term.MakeRaw(t.fd)
	if err != nil {
		return err
	}
	if t.saved == nil {
		t.saved = saved
	}
	return nil
}

// restore gives the terminal back as it was. It may be called at any time.
func (t *terminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved != nil {
		_ = term.Restore(t.fd, t.saved) // a terminal that is gone needs nothing
		t.saved = nil
	}
}

// size is what a container's terminal should measure: as f's, zero where f is
// no terminal.
func size(f *os.File) (cols, rows uint16) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return ws.Col, ws.Row
}

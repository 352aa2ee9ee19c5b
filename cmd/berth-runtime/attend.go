package main

import (
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

// attend waits in the foreground for a container's process: it passes signals
// on, and with a terminal copies between it and ours.
func attend(c *runtime.Child) (int, error) {
	pidfd, err := unix.PidfdOpen(c.Pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(pidfd)
	t, err := newRelay(c.Master)
	if err != nil {
		return 0, err
	}
	stop := passOn(pidfd, t)
	defer stop()
	status, err := c.Wait()
	t.close()
	return status, err
}

// passOn passes signals on to the process until it is stopped. Each signal that
// is asked for costs Go some context switches between threads, all of them a
// millisecond: so those that people send first come first, and the rest when
// the process has turned out to live longer than that.
func passOn(pidfd int, t *relay) (stop func()) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		later := time.After(10 * time.Millisecond)
		for {
			select {
			case <-ended:
				return
			case <-later:
				signal.Notify(signals)
			case s := <-signals:
				sig, ok := s.(unix.Signal)
				switch {
				case !ok || sig == unix.SIGCHLD || sig == unix.SIGURG || sig == unix.SIGPIPE:
				case sig == unix.SIGWINCH && t != nil:
					t.resize()
				default:
					unix.PidfdSendSignal(pidfd, sig, nil, 0) //nolint:errcheck // it may be gone
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(ended)
		<-done
	}
}

// relay copies between the caller's terminal and a container's.
type relay struct {
	master *os.File
	saved  *unix.Termios // the caller's terminal as it was
	done   chan struct{}
}

func newRelay(master int) (*relay, error) {
	if master < 0 {
		return nil, nil //nolint:nilnil // no terminal, nothing to copy
	}
	if err := unix.SetNonblock(master, true); err != nil {
		return nil, err
	}
	r := &relay{master: os.NewFile(uintptr(master), "terminal"), done: make(chan struct{})}
	r.resize()
	if old, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		raw := *old
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(0, unix.TCSETS, &raw); err != nil {
			return nil, err
		}
		r.saved = old
	}
	// Ends with the process: nobody can take a read of our stdin back.
	go io.Copy(r.master, os.Stdin) //nolint:errcheck // the terminal may go first
	go func() {
		defer close(r.done)
		io.Copy(os.Stdout, r.master) //nolint:errcheck // EIO is a terminal's end
	}()
	return r, nil
}

// resize gives the container's terminal the size of the caller's.
func (r *relay) resize() {
	if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(r.master.Fd()), unix.TIOCSWINSZ, ws) //nolint:errcheck // cosmetic
	}
}

// close waits for the last output and restores the caller's terminal.
func (r *relay) close() {
	if r == nil {
		return
	}
	<-r.done
	if r.saved != nil {
		unix.IoctlSetTermios(0, unix.TCSETS, r.saved) //nolint:errcheck // nothing else to do
	}
	r.master.Close()
}

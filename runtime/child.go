package runtime

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Child is a process of a container that is a child of this process.
type Child struct {
	Pid    int
	Master int // of its terminal, the caller's to close; -1 without one
	Notify int // the socket of CreateOptions.Notify, the caller's to close; -1 without one
}

// Wait waits for the child's end and returns its status as a shell would:
// the exit status, or 128 and the signal's number.
func (c *Child) Wait() (int, error) {
	ws, err := reap(c.Pid)
	if err != nil {
		return 0, fmt.Errorf("wait for %d: %w", c.Pid, err)
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

func reap(pid int) (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return ws, err
		}
	}
}

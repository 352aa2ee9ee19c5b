package main

import (
	"bytes"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
	"github.com/berthrun/berth/unit/notify"
)

// untilReady waits until the container says READY=1 on its notify socket, and
// tells the service manager of this process: it is ready, and pid is its main
// process. It returns too when the container has ended. As with runc, nothing
// else that the container says is passed on.
func untilReady(c *runtime.Container, sock, pid int) error {
	if sock < 0 {
		return nil
	}
	defer unix.Close(sock)
	init, err := unix.PidfdOpen(c.Pid(), 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(init)
	buf := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(sock), Events: unix.POLLIN}, {Fd: int32(init), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return err
		}
		if fds[0].Revents != 0 {
			n, err := unix.Read(sock, buf)
			if err != nil {
				return err
			}
			if line := readyLine(buf[:n]); line != nil {
				return tellReady(line, pid)
			}
			continue
		}
		if fds[1].Revents != 0 {
			return nil
		}
	}
}

// readyLine is the line of a message that says READY, nil if none does.
func readyLine(message []byte) []byte {
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("READY=")) {
			return line
		}
	}
	return nil
}

func tellReady(line []byte, pid int) error {
	m := notify.Manager{Path: os.Getenv("NOTIFY_SOCKET")}
	if err := m.Send(notify.Assignment(line), notify.MainPID(pid)); err != nil {
		return err
	}
	// systemd asks the kernel about the sender, which has to be there still. A
	// manager that knows no barriers is waited for as long as with runc.
	m.Barrier(30 * time.Second) //nolint:errcheck // as above
	return nil
}

package notify

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoManager: nobody listens; the process was not started with Type=notify,
// or not by systemd at all.
var ErrNoManager = errors.New("no manager to notify")

// maxPerMessage is how many descriptors the kernel takes in one message
// (SCM_MAX_FD).
const maxPerMessage = 253

// An Assignment is one line of a message, NAME=value.
type Assignment string

// Messages without a parameter.
const (
	Ready    Assignment = "READY=1"
	Stopping Assignment = "STOPPING=1"
	Alive    Assignment = "WATCHDOG=1"
	Trigger  Assignment = "WATCHDOG=trigger"
)

// Status is the line that systemctl status shows.
func Status(text string) Assignment { return "STATUS=" + Assignment(oneLine(text)) }

// Errno says why the service failed, as an errno. ERRNO=0 clears it.
func Errno(e syscall.Errno) Assignment { return Assignment("ERRNO=" + strconv.Itoa(int(e))) }

// MainPID names another process of the service as its main one. The manager
// notices the end only of its own children.
func MainPID(pid int) Assignment { return Assignment("MAINPID=" + strconv.Itoa(pid)) }

// Extend asks for more time to start or to stop, counted from now.
func Extend(d time.Duration) Assignment {
	return Assignment("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(max(d.Microseconds(), 0), 10))
}

// oneLine keeps a text from being more than one assignment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == 0 {
			return ' '
		}
		return r
	}, s)
}

// A Manager is the address that NOTIFY_SOCKET named. Its zero value has
// nobody: every method returns ErrNoManager.
type Manager struct {
	Path string
}

// Send sends a message.
func (m Manager) Send(lines ...Assignment) error { return m.send(nil, lines...) }

// Store puts files into the descriptor store under one name. They stay there
// until they are removed, and the files here stay open and the caller's. The
// manager would drop a descriptor that polls as hung up, which is what pidfds
// and pipes do when they become interesting: it is told not to look
// (FDPOLL=0, systemd ≥ 246).
func (m Manager) Store(name string, files ...*os.File) error {
	if !validName(name) {
		return fmt.Errorf("store descriptor %q: not a name", name)
	}
	for len(files) > 0 {
		n := min(len(files), maxPerMessage)
		if err := m.send(files[:n], "FDSTORE=1", Assignment("FDNAME="+name), "FDPOLL=0"); err != nil {
			return err
		}
		files = files[n:]
	}
	return nil
}

// Remove takes what has that name from the descriptor store.
func (m Manager) Remove(name string) error {
	if !validName(name) {
		return fmt.Errorf("remove descriptor %q: not a name", name)
	}
	return m.Send("FDSTOREREMOVE=1", Assignment("FDNAME="+name))
}

// validName is systemd's fdname_is_valid.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 127 || s[i] == ':' {
			return false
		}
	}
	return true
}

// Barrier returns when the manager has processed all that was sent before, or
// ETIMEDOUT.
func (m Manager) Barrier(timeout time.Duration) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("wait for manager: %w", err)
	}
	defer unix.Close(p[0])
	err := m.sendRaw([]int{p[1]}, "BARRIER=1")
	unix.Close(p[1])
	if err != nil {
		return err
	}
	deadline := time.Now().Add(timeout)
	for {
		// The manager closes its copy when it comes to the message.
		fds := []unix.PollFd{{Fd: int32(p[0])}}
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("wait for manager: %w", err)
		case n == 0:
			return fmt.Errorf("wait for manager: %w", unix.ETIMEDOUT)
		}
		return nil
	}
}

func (m Manager) send(files []*os.File, lines ...Assignment) error {
	fds, err := numbers(files)
	if err != nil {
		return fmt.Errorf("notify manager: %w", err)
	}
	parts := make([]string, len(lines))
	for i, l := range lines {
		parts[i] = string(l)
	}
	return m.sendRaw(fds, strings.Join(parts, "\n"))
}

// numbers are the files' descriptors. The files stay open: the caller holds them.
func numbers(files []*os.File) ([]int, error) {
	fds := make([]int, len(files))
	for i, f := range files {
		rc, err := f.SyscallConn()
		if err == nil {
			err = rc.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return nil, err
		}
	}
	return fds, nil
}

func (m Manager) sendRaw(fds []int, text string) error {
	if m.Path == "" {
		return ErrNoManager
	}
	if m.Path[0] != '/' && m.Path[0] != '@' {
		return fmt.Errorf("notify manager: address %q: %w", m.Path, unix.EAFNOSUPPORT)
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify manager: %w", err)
	}
	defer unix.Close(s)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	to := &unix.SockaddrUnix{Name: m.Path}
	for {
		err = unix.Sendmsg(s, []byte(text), oob, to, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("notify manager: %w", err)
	}
	return nil
}

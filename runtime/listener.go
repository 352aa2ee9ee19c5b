package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A filter with SCMP_ACT_NOTIFY has a listener: a descriptor that seccomp(2)
// returns to the process which loads the filter, and which belongs into the
// hands of an agent before that process does anything that the agent decides
// on. Any system call with which the process sent it away, or waited for being
// told that somebody has it, would be the filter's already. So it makes none:
// it says that it is about to load the filter, loads it, and looks at a word of
// its memory until that changes (program.spin). The runtime, told, takes the
// descriptor out of it (pidfd_getfd), sends it to the agent, and writes the word.

// listener is where in a process its listener is.
type listener struct {
	FD   int    `json:"fd"`   // the lowest that is free then
	Word uint64 `json:"word"` // the address of what it looks at
}

// notifies says whether a profile asks an agent.
func notifies(s *specs.LinuxSeccomp) bool {
	if s == nil {
		return false
	}
	for i := range s.Syscalls {
		if s.Syscalls[i].Action == specs.ActNotify {
			return true
		}
	}
	return s.DefaultAction == specs.ActNotify
}

// checkNotify checks what a profile says of its agent.
func checkNotify(s *specs.LinuxSeccomp) error {
	switch {
	case s == nil:
	case s.ListenerPath == "" && s.ListenerMetadata != "":
		return errors.New("seccomp: listenerMetadata without listenerPath")
	case s.ListenerPath == "" && notifies(s):
		return errors.New("seccomp: SCMP_ACT_NOTIFY without listenerPath")
	}
	return nil
}

// dialAgent connects to the agent.
func dialAgent(s *specs.LinuxSeccomp) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	// An agent that takes no connections any more is one that has failed.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 10}) //nolint:errcheck // it then has as long as it likes
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: s.ListenerPath}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to seccomp agent %s: %w", s.ListenerPath, err)
	}
	return fd, nil
}

// deliver gets the listener of a process that is about to load its filter to
// the agent, and lets the process go on. sock is what the process reports to.
// Preconditions: the process has said so (told).
func (n *listener) deliver(agent, sock, pid, pidfd int, s *specs.LinuxSeccomp, state specs.State) error {
	body, err := json.Marshal(&specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: s.ListenerMetadata, State: state,
	})
	if err != nil {
		return err
	}
	fd, err := n.take(sock, pidfd)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendmsg(agent, body, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send seccomp listener to %s: %w", s.ListenerPath, err)
	}
	// The end of the connection is what the agent may wait for.
	unix.Shutdown(agent, unix.SHUT_RDWR) //nolint:errcheck // it is closed soon
	word := [4]byte{1}
	local := []unix.Iovec{{Base: &word[0], Len: 4}}
	if _, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: uintptr(n.Word), Len: 4}}, 0); err != nil {
		return fmt.Errorf("let %d go on: %w", pid, err)
	}
	return nil
}

// told waits for a word of the process.
func told(sock int) error {
	msg, fds, err := receive(sock)
	closeAll(fds)
	if err == nil && msg == nil {
		err = errors.New("load seccomp filter: the process ended")
	}
	return err
}

// take duplicates the listener, as soon as it is there.
func (n *listener) take(sock, pidfd int) (int, error) {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Microsecond) {
		fd, err := unix.PidfdGetfd(pidfd, n.FD, 0)
		if err == nil {
			if name, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); name == "anon_inode:seccomp notify" {
				return fd, nil
			}
			unix.Close(fd)
			return -1, fmt.Errorf("take seccomp listener: %d is something else", n.FD)
		}
		if err != unix.EBADF {
			return -1, fmt.Errorf("take seccomp listener: %w", err)
		}
		ready := []unix.PollFd{{Fd: int32(sock), Events: unix.POLLIN}}
		if c, _ := unix.Poll(ready, 0); c > 0 {
			return -1, errors.Join(told(sock), errors.New("load seccomp filter: the process went on"))
		}
		if time.Now().After(end) {
			return -1, errors.New("take seccomp listener: the process loads no filter")
		}
	}
}

// spins bounds how often a process looks at its word: some seconds. Nobody
// will ever write it if the runtime was killed.
const spins = 1 << 27

// spin adds the step that makes no system call, but waits until the word at the
// address is not 0.
func (p *program) spin(word uint64) {
	p.add("", 0, word, spins).flags = spinning
}

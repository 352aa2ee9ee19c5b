package shim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is somebody held by a pidfd.
type process struct {
	pid int
	f   *os.File
}

// openProcess holds the process pid. The caller knows by other means that the
// number is not reused yet: it is an unreaped child or was told just now.
func openProcess(pid int) (*process, error) {
	// PIDFD_NONBLOCK (Linux 5.10) has the same value as O_NONBLOCK; the
	// runtime's poller wants it.
	fd, err := unix.PidfdOpen(pid, unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", pid, err)
	}
	return &process{pid, os.NewFile(uintptr(fd), "pidfd")}, nil
}

func (p *process) signal(sig unix.Signal) error {
	var err error
	cerr := control(p.f, func(fd int) { err = unix.PidfdSendSignal(fd, sig, nil, 0) })
	if cerr != nil {
		return cerr
	}
	return err
}

// gone waits for the end of a process, anybody's.
func (p *process) gone() error {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool { return ended(int(fd)) })
}

func ended(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// reapTime is how long the parent of an ended process may take to wait for it.
const reapTime = 5 * time.Second

// status returns how an ended process that was nobody's child here has ended,
// as the kernel keeps it for the holders of a pidfd: PIDFD_INFO_EXIT, since
// Linux 6.15. It is there once the parent has reaped the process, which the
// pidfd tells by POLLHUP. ok is false where the kernel does not tell.
func (p *process) status() (ws unix.WaitStatus, ok bool) {
	err := control(p.f, func(fd int) {
		if ws, ok = exitInfo(fd); !ok {
			hangup := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP only
			_, _ = unix.Poll(hangup, int(reapTime.Milliseconds()))
			ws, ok = exitInfo(fd)
		}
	})
	return ws, ok && err == nil
}

func exitInfo(pidfd int) (ws unix.WaitStatus, ok bool) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil {
		return 0, false
	}
	return unix.WaitStatus(info.Exit_code), info.Mask&unix.PIDFD_INFO_EXIT != 0
}

// control runs fn with f's descriptor, without (*os.File).Fd's side effect of
// making it blocking.
func control(f *os.File, fn func(fd int)) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { fn(int(fd)) })
}

// startTime returns field 22 of proc_pid_stat(5): with the pid it names a
// process for good.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStartTime(data)
}

func parseStartTime(stat []byte) (uint64, error) {
	// The name, in parentheses, may hold blanks and parentheses.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, fmt.Errorf("process status %q: no name in it", stat)
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("process status: too short")
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

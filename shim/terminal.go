package shim

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// feeder moves a terminal's output into a pipe.
type feeder struct {
	tty  *os.File
	pipe *os.File // write end
}

// run moves bytes until the terminal has hung up for good, and closes the pipe.
func (f *feeder) run() {
	defer f.pipe.Close()
	tty, err := f.tty.SyscallConn()
	if err != nil {
		return
	}
	for f.waitForRoom() == nil {
		var serr error
		err := tty.Read(func(uintptr) bool {
			// There is room in the pipe: EAGAIN can only come from the
			// terminal. EIO: nobody has the terminal open now; somebody may
			// open it again while the container lives.
			serr = f.move()
			return serr != unix.EAGAIN && serr != unix.EINTR && serr != unix.EIO
		})
		if err != nil || serr != nil {
			break
		}
	}
	for f.waitForRoom() == nil && f.move() == nil {
	}
}

// end lets run return when it has emptied the terminal. Called when init is
// gone, which hung the terminal up.
func (f *feeder) end() { _ = f.tty.SetReadDeadline(time.Unix(1, 0)) }

func (f *feeder) move() error {
	var n int64
	var err error
	cerr := control(f.tty, func(in int) {
		e := control(f.pipe, func(out int) {
			n, err = unix.Splice(in, nil, out, nil, moveMax, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		})
		if e != nil {
			err = e
		}
	})
	if cerr != nil {
		return cerr
	}
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}

func (f *feeder) waitForRoom() error {
	raw, err := f.pipe.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Write(func(fd uintptr) bool { return hasRoom(int(fd)) })
}

// hasRoom says whether a write to the pipe would take something.
func hasRoom(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	return n == 1 || err != nil && err != unix.EINTR
}

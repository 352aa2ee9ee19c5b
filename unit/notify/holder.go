package notify

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Holder keeps descriptors for the next process of the service behind one that
// is in the manager's store: a socket with messages that nobody has received,
// which have the descriptors with them (SCM_RIGHTS, unix(7)). What is in it
// lives as long as the manager holds the socket. A descriptor more costs one
// system call; in the store it would cost the manager the look-up of its sender,
// signals to whoever watches the unit, and in the end a process to close it,
// about a millisecond in all (systemd 257).
//
// It is safe for concurrent use. Nothing is taken out of it again.
type Holder struct {
	w *os.File // sending end; the first message has it too
}

// holderSelf is the name of the sending end's message.
const holderSelf = "holder"

// Hold makes a Holder and puts it into the store under a name. Without a
// manager it holds nothing, and the error is ErrNoManager.
func (m Manager) Hold(name string) (*Holder, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make holder: %w", err)
	}
	r := os.NewFile(uintptr(pair[1]), name)
	defer r.Close()
	h := &Holder{os.NewFile(uintptr(pair[0]), holderSelf)}
	if err := h.Keep(holderSelf, h.w); err != nil {
		h.Close()
		return nil, err
	}
	if err := m.Store(name, r); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Keep puts files into the Holder, under one name. They stay open and the
// caller's.
func (h *Holder) Keep(name string, files ...*os.File) error {
	if !validName(name) {
		return fmt.Errorf("hold descriptor %q: not a name", name)
	}
	if len(files) == 0 || len(files) > maxPerMessage {
		return fmt.Errorf("hold %s: %d descriptors", name, len(files))
	}
	fds, err := numbers(files)
	if err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	to, err := numbers([]*os.File{h.w})
	if err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	for {
		err := unix.Sendmsg(to[0], []byte(name), unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("hold %s: %w", name, err)
		}
	}
}

// Close closes this process's end. What is held stays so.
func (h *Holder) Close() error { return h.w.Close() }

// Held returns the Holder that an earlier process made, and what is in it, in
// the order it came in, named as it was put there. Nothing is taken out: a
// process that is killed now leaves all of it to the next. f, which is the one
// from the store, is closed.
func Held(f *os.File) (h *Holder, files []*os.File, err error) {
	defer f.Close()
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			h, files = nil, nil
		}
	}()
	fd, err := numbers([]*os.File{f})
	if err != nil {
		return nil, nil, fmt.Errorf("open holder: %w", err)
	}
	// Each look begins where the one before ended, and ends with a message that
	// has descriptors, which all have (SO_PEEK_OFF, socket(7)).
	if err := unix.SetsockoptInt(fd[0], unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0); err != nil {
		return nil, nil, fmt.Errorf("open holder: %w", err)
	}
	name, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4*maxPerMessage))
	for {
		n, got, err := peek(fd[0], name, oob)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, files, fmt.Errorf("open holder: %w", err)
		}
		for _, g := range got {
			files = append(files, os.NewFile(uintptr(g), string(name[:n])))
		}
	}
	if len(files) == 0 || files[0].Name() != holderSelf {
		return nil, files, errors.New("open holder: it does not begin with itself")
	}
	return &Holder{files[0]}, files[1:], nil
}

// peek looks at the next message; io.EOF where there is none.
func peek(fd int, name, oob []byte) (n int, fds []int, err error) {
	var on, flags int
	for {
		n, on, flags, _, err = unix.Recvmsg(fd, name, oob, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EAGAIN || err == nil && n == 0 {
		return 0, nil, io.EOF
	}
	if err != nil {
		return 0, nil, err
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil {
		return 0, nil, err
	}
	for i := range cmsgs {
		if got, err := unix.ParseUnixRights(&cmsgs[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return n, fds, errors.New("descriptors were cut off") // this process has too many open
	}
	return n, fds, nil
}

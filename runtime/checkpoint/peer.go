package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

// peer is a CRIU that serves one request.
type peer struct {
	cmd   *exec.Cmd
	sock  int
	files []*os.File // for it
	kept  []*os.File // that it opens by our numbers
	log   string     // path of its log
}

// newPeer prepares a CRIU with a socket to us; nothing runs yet.
func newPeer() (*peer, error) {
	path, err := exec.LookPath("criu")
	if err != nil {
		return nil, &runtime.UnsupportedError{Feature: "checkpoint and restore", Needs: "criu in $PATH"}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket pair: %w", err)
	}
	p := &peer{sock: pair[0]}
	n := p.give(os.NewFile(uintptr(pair[1]), "criu"))
	p.cmd = exec.Command(path, "swrk", fmt.Sprint(n))
	return p, nil
}

// give hands a file to CRIU, which the peer closes, and returns its number there.
func (p *peer) give(f *os.File) int32 {
	p.files = append(p.files, f)
	return int32(2 + len(p.files))
}

// start starts CRIU, in the cgroup that is open at cgroup if that is not negative.
func (p *peer) start(cgroup int) error {
	p.cmd.ExtraFiles = p.files
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if cgroup >= 0 {
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, cgroup
	}
	err := p.cmd.Start()
	p.closeFiles()
	if err != nil {
		return fmt.Errorf("start criu: %w", err)
	}
	return nil
}

func (p *peer) closeFiles() {
	for _, f := range p.files {
		f.Close()
	}
	p.files = nil
}

// close ends the conversation, and CRIU with it.
func (p *peer) close() {
	unix.Close(p.sock)
	p.closeFiles()
	for _, f := range p.kept {
		f.Close()
	}
	if p.cmd.Process != nil {
		p.cmd.Wait() //nolint:errcheck // it has said what it had to say
	}
}

// request makes CRIU do something. notify is called at each point that CRIU
// stops at, with the file that comes along, if any, which it closes.
func (p *peer) request(kind rpc.CriuReqType, opts *rpc.CriuOpts, notify func(*rpc.CriuNotify, *os.File) error) error {
	req := &rpc.CriuReq{Type: &kind, Opts: opts}
	for {
		b, err := req.MarshalVT()
		if err != nil {
			return err
		}
		if err := unix.Sendto(p.sock, b, unix.MSG_NOSIGNAL, nil); err != nil {
			return fmt.Errorf("send to criu: %w", err)
		}
		resp, f, err := p.receive()
		if err != nil {
			return err
		}
		if !resp.GetSuccess() {
			closeFile(f)
			return p.failure(resp)
		}
		if resp.GetType() != rpc.CriuReqType_NOTIFY {
			closeFile(f)
			if resp.GetType() != kind {
				return fmt.Errorf("criu: answer %s to %s", resp.GetType(), kind)
			}
			return nil
		}
		if err := notify(resp.GetNotify(), f); err != nil {
			return err
		}
		req = &rpc.CriuReq{Type: new(rpc.CriuReqType_NOTIFY), NotifySuccess: new(true)}
	}
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// receive takes one message, with a descriptor where there is one.
func (p *peer) receive() (*rpc.CriuResp, *os.File, error) {
	buf, ctl := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4))
	var n, cn int
	var err error
	for {
		n, cn, _, _, err = unix.Recvmsg(p.sock, buf, ctl, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("receive from criu: %w", err)
	}
	if n == 0 {
		return nil, nil, p.failure(nil)
	}
	var f *os.File
	if list, err := unix.ParseSocketControlMessage(ctl[:cn]); err == nil {
		for i := range list {
			if fds, err := unix.ParseUnixRights(&list[i]); err == nil && len(fds) == 1 {
				f = os.NewFile(uintptr(fds[0]), "criu")
			}
		}
	}
	resp := new(rpc.CriuResp)
	if err := resp.UnmarshalVT(buf[:n]); err != nil {
		closeFile(f)
		return nil, nil, fmt.Errorf("parse criu's answer: %w", err)
	}
	return resp, f, nil
}

// failure words what CRIU could not do: its log says why.
func (p *peer) failure(resp *rpc.CriuResp) error {
	why := "it ended"
	if resp != nil {
		why = resp.GetCrErrmsg()
		if errno := unix.Errno(resp.GetCrErrno()); errno != 0 {
			why = strings.TrimSpace(why + " " + errno.Error())
		}
	}
	if line := firstError(p.log); line != "" {
		why = line
	}
	if why == "" {
		why = "it failed"
	}
	return fmt.Errorf("criu: %s (log file: %s)", why, p.log)
}

// firstError is the first line of CRIU's log that tells of an error.
func firstError(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if _, text, ok := strings.Cut(sc.Text(), "Error "); ok {
			if len(text) > 512 {
				text = text[:512]
			}
			return text
		}
	}
	return ""
}

// directories opens the image's and the work directory for CRIU, making them.
// user says that the container has a user namespace.
func (p *peer) directories(o *Options, opts *rpc.CriuOpts, log string, user bool) error {
	if o.ImagePath == "" {
		return errors.New("no image path")
	}
	work := o.WorkPath
	if work == "" {
		work = o.ImagePath
	}
	for _, d := range []string{o.ImagePath, work} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	if user {
		// The user namespace's root looks in it for files that it may not open.
		if err := os.Chmod(o.ImagePath, 0o711); err != nil {
			return err
		}
	}
	// These are numbers here: criu looks them up in /proc/PID/fd of its client.
	image, err := os.Open(o.ImagePath)
	if err != nil {
		return err
	}
	p.kept = append(p.kept, image)
	dir, err := os.Open(work)
	if err != nil {
		return err
	}
	p.kept = append(p.kept, dir)
	opts.ImagesDirFd, opts.WorkDirFd, opts.LogFile = new(int32(image.Fd())), new(int32(dir.Fd())), &log
	p.log = filepath.Join(work, log)
	// What an earlier attempt has said is not ours.
	if err := os.Remove(p.log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

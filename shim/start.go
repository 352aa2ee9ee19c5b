package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/unit/notify"
)

// errStopped ends a start that was stopped before the container ran.
var errStopped = errors.New("stopped before it was started")

// attachTime is how long a start waits for the client that announced itself.
// One that was killed meanwhile costs the container its time, not its start.
const attachTime = 5 * time.Second

// coldStart makes and starts the container.
func (s *shim) coldStart(in *notify.Inherited) error {
	if s.rec.Up {
		if err := s.hookUp(); err != nil {
			return err
		}
	}
	attach, err := s.makeBundle()
	if err != nil {
		return err
	}
	s.started.Unit, s.started.Cgroup, s.started.Invocation = s.unit.name, s.unit.cgroup, s.unit.invocation
	if err := s.openLog(); err != nil {
		return err
	}
	ends, err := s.makeStdio()
	defer ends.close()
	if err != nil {
		return err
	}
	if err := s.listen(in); err != nil {
		return err
	}
	if err := s.create(ends); err != nil {
		return err
	}
	s.server.stdioReady()
	if attach {
		if err := s.awaitClient(); err != nil {
			return err
		}
	}
	return s.start()
}

// hookUp has the engine do its part before the bundle is made.
func (s *shim) hookUp() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find berth-hook: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("run berth-hook: %w", err)
	}
	defer null.Close()
	said, err := newPipe()
	if err != nil {
		return fmt.Errorf("run berth-hook: %w", err)
	}
	defer said.close()
	env := append(s.oci.env, "BERTH_ROOT="+s.store.Root(), "BERTH_RUN="+s.store.Run())
	argv := []string{filepath.Join(filepath.Dir(self), "berth-hook"), "up", s.rec.ID}
	done, err := s.kids.start(argv, &syscall.ProcAttr{Dir: "/", Env: env, Files: []uintptr{rawFD(null), rawFD(null), rawFD(said.w)}})
	if err != nil {
		return err
	}
	if ws := <-done; ws != 0 {
		return errors.New(strings.TrimPrefix(lastLine(drain(said.r)), "berth-hook: "))
	}
	return nil
}

// makeBundle makes the run's directory, the OCI bundle of it, and says whether
// a client wants to be attached before the start.
func (s *shim) makeBundle() (attach bool, err error) {
	s.oci.removeLeftovers(s.rec.ID)
	attach = s.clearRunDir()
	if err := os.MkdirAll(filepath.Join(s.dir, container.RootfsDir), 0o700); err != nil {
		return false, fmt.Errorf("make bundle: %w", err)
	}
	config, err := os.ReadFile(filepath.Join(s.store.Dir(s.rec.ID), container.ConfigFile))
	if err != nil {
		return false, fmt.Errorf("make bundle: %w", err)
	}
	leaf := filepath.Join(s.unit.cgroup, container.ContainerCgroup)
	config = bytes.ReplaceAll(config, []byte(container.CgroupPlaceholder), []byte(leaf))
	if err := os.WriteFile(filepath.Join(s.dir, "config.json"), config, 0o600); err != nil {
		return false, fmt.Errorf("make bundle: %w", err)
	}
	return attach, nil
}

// clearRunDir removes what an earlier run left that was killed before it ran.
// What a verb put there for this run stays.
func (s *shim) clearRunDir() (attach bool) {
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		switch e.Name() {
		case container.AttachFile:
			attach = true
		case container.StopTimeoutFile, container.ReadyFile:
		default:
			_ = os.RemoveAll(filepath.Join(s.dir, e.Name()))
		}
	}
	return attach
}

// create has the runtime make the container: everything but the command runs.
func (s *shim) create(ends *childEnds) error {
	release := s.kids.expect()
	defer release()
	args := []string{"create", "--bundle", s.dir, "--pid-file", filepath.Join(s.dir, container.PidFile)}
	if s.rec.Terminal {
		args = append(args, "--console-socket", ends.console.path)
	}
	args = append(args, s.rec.ID)
	logFile := filepath.Join(s.dir, container.RuntimeLogFile)
	err := inOwnMounts(func() error {
		if err := mountRootfs(s.rec.Rootfs, s.store.Dir(s.rec.ID), filepath.Join(s.dir, container.RootfsDir)); err != nil {
			return err
		}
		done, err := s.oci.run(s.dir, logFile, ends.io, args...)
		if err != nil {
			return err
		}
		if ws := <-done; ws != 0 {
			return failure("create", logFile, ends.said())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.takeTerminal(ends); err != nil {
		return err
	}
	ends.said() // warnings of the runtime are no output of the container
	return s.holdInit()
}

// holdInit takes hold of the container's init, our child since the runtime
// that forked it has ended.
func (s *shim) holdInit() error {
	data, err := os.ReadFile(filepath.Join(s.dir, container.PidFile))
	if err != nil {
		return fmt.Errorf("find init: %w", err)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("find init: pid file says %q", data)
	}
	// A child that nobody waited for keeps its number; the reaper keeps the
	// status of one that it waited for.
	s.status = s.kids.claim(pid)
	if s.init, err = openProcess(pid); err != nil {
		return err
	}
	if err := s.sd.Store(fdInit, s.init.f); err != nil && !errors.Is(err, notify.ErrNoManager) {
		return fmt.Errorf("store init: %w", err)
	}
	s.started.Pid = pid
	s.started.PidStart, _ = startTime(pid) // gone already: the number means nobody
	return nil
}

// awaitClient waits for the client that left the attach file.
func (s *shim) awaitClient() error {
	_ = os.Remove(filepath.Join(s.dir, container.AttachFile))
	t := time.NewTimer(attachTime)
	defer t.Stop()
	select {
	case <-s.server.attached:
		return nil
	case <-s.stop:
		return errStopped
	case <-t.C:
		return nil
	}
}

// start lets the container's command run.
func (s *shim) start() error {
	if s.stopped() {
		return errStopped
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	defer null.Close()
	said, err := newPipe()
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	defer said.close()
	s.started.Time = time.Now()
	logFile := filepath.Join(s.dir, container.RuntimeLogFile)
	done, err := s.oci.run(s.dir, logFile, stdio{rawFD(null), rawFD(null), rawFD(said.w)}, "start", s.rec.ID)
	if err != nil {
		return err
	}
	if ws := <-done; ws != 0 {
		return failure("start", logFile, drain(said.r))
	}
	if err := s.store.WriteStarted(s.rec.ID, &s.started); err != nil {
		return err
	}
	s.store.TellStart(s.rec.ID, container.ReadyStarted)
	return nil
}

// drain returns what is in a pipe now.
func drain(r *os.File) []byte {
	var out []byte
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(int(rawFD(r)), buf)
		if n <= 0 || err != nil {
			return out
		}
		out = append(out, buf[:n]...)
	}
}

// rawFD is f's descriptor, valid while f is.
func rawFD(f *os.File) uintptr {
	fd := ^uintptr(0)
	_ = control(f, func(n int) { fd = uintptr(n) })
	return fd
}

// pollable returns f in non-blocking mode and in the runtime's poller. f is
// closed.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(rawFD(f), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func boundTo(f *os.File) string {
	sa, err := unix.Getsockname(int(rawFD(f)))
	if u, ok := sa.(*unix.SockaddrUnix); ok && err == nil {
		return u.Name
	}
	return ""
}

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

// attachTime is how long a start waits for the client that said it would
// attach, attachLook how often it looks whether that one lives.
const (
	attachTime = 5 * time.Second
	attachLook = 50 * time.Millisecond
)

// coldStart makes and starts the container.
func (s *shim) coldStart(in *notify.Inherited) error {
	profile, load, err := s.appArmor()
	if err != nil {
		return err
	}
	if s.rec.Up || load {
		if err := s.hookUp(); err != nil {
			return err
		}
	}
	if err := s.makeBundle(profile); err != nil {
		return err
	}
	s.keepCrash()
	s.started.Unit, s.started.Cgroup, s.started.Invocation = s.unit.name, s.unit.cgroup, s.unit.invocation
	ends, err := s.makeStdio()
	defer ends.close()
	if err != nil {
		return err
	}
	defer s.closeLaunch()
	// What the runtime does takes several milliseconds.
	meanwhile := func() error {
		if err := s.openLog(); err != nil {
			return err
		}
		return s.listen(in)
	}
	if err := s.create(ends, meanwhile); err != nil {
		return err
	}
	s.server.stdioReady()
	if err := s.awaitClient(); err != nil {
		return err
	}
	return s.start()
}

// closeLaunch lets go of a runtime that was not told to start what it created.
func (s *shim) closeLaunch() {
	s.launch.close()
	s.launch = nil
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

// makeBundle makes the run's directory, which is the OCI bundle.
func (s *shim) makeBundle(profile string) error {
	s.oci.removeLeftovers(s.rec.ID)
	s.clearRunDir()
	if err := os.MkdirAll(filepath.Join(s.dir, container.RootfsDir), 0o700); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	config, err := os.ReadFile(filepath.Join(s.store.Dir(s.rec.ID), container.ConfigFile))
	if err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	leaf := filepath.Join(s.unit.cgroup, container.ContainerCgroup)
	if config, err = container.SetCgroup(config, leaf); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	if profile != "" {
		if config, err = container.SetAppArmor(config, profile); err != nil {
			return fmt.Errorf("make bundle: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "config.json"), config, 0o600); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	return nil
}

// clearRunDir removes what an earlier run left that was killed before it ran.
// What a verb put there for this run stays.
func (s *shim) clearRunDir() {
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if e.Name() != container.StopTimeoutFile {
			_ = os.RemoveAll(filepath.Join(s.dir, e.Name()))
		}
	}
}

// create has the runtime make the container: everything but the command runs.
// While that is at work, meanwhile is done.
func (s *shim) create(ends *childEnds, meanwhile func() error) error {
	release := s.kids.expect()
	defer release()
	args := []string{"create", "--bundle", s.dir, "--pid-file", filepath.Join(s.dir, container.PidFile)}
	if s.rec.Terminal {
		args = append(args, "--console-socket", ends.console.path)
	}
	place := filepath.Join(s.dir, container.RootfsDir)
	root, err := openRootfs(s.rec.Rootfs, s.store.Dir(s.rec.ID), place)
	if err != nil {
		return err
	}
	defer root.Close()
	s.unseen = s.unit.copyLimits(s.rec)
	logFile := filepath.Join(s.dir, container.RuntimeLogFile)
	var talk *os.File // the runtime's end of s.launch
	var done <-chan unix.WaitStatus
	if s.oci.own() {
		if s.launch, talk, err = newLaunch(); err != nil {
			return err
		}
		defer talk.Close()
		args = append(args, "--delegated", "--start-fd", "3", "--root-fd", "4", s.rec.ID)
		done, err = s.oci.runWith(s.dir, logFile, append(ends.io[:], rawFD(talk), rawFD(root)), args...)
	} else {
		args = append(args, s.rec.ID)
		err = inOwnMounts(func() error {
			err := attachRootfs(root, place)
			if err == nil {
				done, err = s.oci.run(s.dir, logFile, ends.io, args...)
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	root.Close() // the container has it, and with its end it is gone
	err = meanwhile()
	if s.launch != nil {
		talk.Close() // the end of the runtime is the end of the connection
	}
	if s.launch == nil || !s.launch.created(done) {
		if ws := <-done; ws != 0 {
			return failure("create", logFile, ends.said())
		}
	}
	if err != nil {
		return err
	}
	if err := s.takeTerminal(ends); err != nil {
		return err
	}
	ends.said() // warnings of the runtime are no output of the container
	return s.holdInit()
}

// launch is a runtime that has created a container and waits for the word to
// start it: a runtime like any other is executed a second time for that.
type launch struct {
	talk *os.File
	done <-chan unix.WaitStatus
}

func newLaunch() (l *launch, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(pair[0], true)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("create container: %w", err)
	}
	return &launch{talk: os.NewFile(uintptr(pair[0]), "runtime")}, os.NewFile(uintptr(pair[1]), "runtime"), nil
}

// created waits until the container is there, or the runtime has ended.
func (l *launch) created(done <-chan unix.WaitStatus) bool {
	var word [1]byte
	n, _ := l.talk.Read(word[:])
	if n == 1 {
		l.done = done
	}
	return n == 1
}

// start gives the word, and waits until the runtime says that the container
// runs. If it does not say so, its exit status tells.
func (l *launch) start() bool {
	word := []byte{1}
	if _, err := l.talk.Write(word); err != nil {
		return false
	}
	n, _ := l.talk.Read(word)
	return n == 1
}

// close lets a runtime go that still waits. What it has created stays.
func (l *launch) close() {
	if l != nil {
		l.talk.Close()
	}
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
	if err := s.keep(fdInit, s.init.f); err != nil {
		return err
	}
	// While somebody has the container's mounts, init's end need not wait for
	// the kernel to take them apart, which is more than a millisecond.
	s.mounts, _ = os.Open("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
	s.started.Pid = pid
	s.started.PidStart, _ = startTime(pid) // gone already: the number means nobody
	return nil
}

// awaitClient waits for the client that said it would attach, if it lives.
func (s *shim) awaitClient() error {
	for end := time.Now().Add(attachTime); s.starters.Attaching() && time.Now().Before(end); {
		t := time.NewTimer(attachLook)
		select {
		case <-s.server.attached:
			t.Stop()
			return nil
		case <-s.stop:
			t.Stop()
			return errStopped
		case <-t.C:
		}
	}
	return nil
}

// start lets the container's command run.
func (s *shim) start() error {
	if s.stopped() {
		return errStopped
	}
	s.started.Time = time.Now()
	if err := s.runStart(); err != nil {
		return err
	}
	s.server.open() // who is told of the start may call at once
	if err := s.store.WriteStarted(s.rec.ID, &s.started); err != nil {
		return err
	}
	s.starters.Tell(true)
	return nil
}

// runStart has the runtime do so.
func (s *shim) runStart() error {
	logFile := filepath.Join(s.dir, container.RuntimeLogFile)
	if s.launch != nil {
		if s.launch.start() {
			return nil
		}
		if ws := <-s.launch.done; ws != 0 {
			return failure("start", logFile, nil)
		}
		return nil
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
	done, err := s.oci.run(s.dir, logFile, stdio{rawFD(null), rawFD(null), rawFD(said.w)}, "start", s.rec.ID)
	if err != nil {
		return err
	}
	if ws := <-done; ws != 0 {
		return failure("start", logFile, drain(said.r))
	}
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

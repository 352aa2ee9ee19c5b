package shim

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/logs"
	"github.com/berthrun/berth/shim/wire"
	"github.com/berthrun/berth/unit/notify"
)

// Names of descriptors. The socket unit's has FileDescriptorName=control.
// systemd's store has the holder, and the holder the others; but the input,
// which a client may close, is in the store itself.
const (
	fdControl = "control"
	fdHolder  = "descriptors"
	fdInit    = "init"
	fdStdin   = "stdin"
	fdStdout  = "stdout"
	fdStderr  = "stderr"
	fdPty     = "pty"
	fdPtyPipe = "pty-pipe" // between the terminal and the stage
	fdSelf    = "self"     // pidfd of the process that cleared the run away
)

// Config says which container to supervise.
type Config struct {
	Root, Run string // the store's directories
	Container string // name or ID
}

// shim is the supervisor of one container.
type shim struct {
	store *container.Store
	rec   *container.Record
	dir   string // of the run
	unit  unit
	sd    notify.Manager
	held  *notify.Holder // what the next process of this unit gets, or nil
	kids  *reaper
	oci   *ociRuntime
	lock  *container.Lock // the container stays
	sole  *container.Lock // and has no other supervisor

	stdin   *os.File // write end, or nil
	pty     *os.File // master, or nil
	feed    *feeder  // from the terminal
	streams map[logs.Stream]*stream
	pumps   sync.WaitGroup
	log     *recorder

	init     *process
	mounts   *os.File               // the container's mount namespace, or nil
	status   <-chan unix.WaitStatus // of an init that is our child
	started  container.Started
	starters *container.Starters // clients that wait for the start
	launch   *launch             // the runtime between create and start, or nil
	unseen   error               // why the container does not see its limits
	signals  chan<- os.Signal
	server   *server

	mu       sync.Mutex // guards what follows
	stopping bool
	ending   bool // no exec may begin
	execs    int  // under way, or followed by a client
	running  bool
	stop     chan struct{} // closed when a stop is asked for
}

// Run supervises a container from its start, or from where an earlier process
// of the same unit was, to its end. It returns the status that the process is
// to end with, and for the user's eyes what kept the container from starting.
func Run(c Config) (code int, err error) {
	// The container's processes are given to us when the runtime that
	// forked them ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return container.ExitBerth, fmt.Errorf("become subreaper: %w", err)
	}
	in, err := notify.Inherit()
	if err != nil {
		return container.ExitBerth, err
	}
	held, err := openHolder(in)
	if err != nil {
		return container.ExitBerth, err
	}
	kids := newReaper()
	kids.oom = spare()
	runtime.GOMAXPROCS(1)

	s := &shim{
		store: container.Open(c.Root, c.Run),
		sd:    notify.Manager{Path: in.Notify},
		held:  held,
		kids:  kids,
		stop:  make(chan struct{}),
	}
	s.signals = catchSignals(s)
	if err := s.prepare(c.Container, in); err != nil {
		s.tell(notify.Status(err.Error()))
		Report(s.rec, err.Error())
		s.starters.Tell(false)
		return container.ExitBerth, err
	}
	defer s.lock.Close()
	how, err := s.look(in)
	if err == nil {
		switch how {
		case beginAgain:
			s.dropStore(in)
			err = s.coldStart(in)
		case goOn:
			reportCrash(s.rec, s.dir)
			s.keepCrash()
			s.server.open()
			if err = s.adopt(in); err == nil {
				s.starters.Tell(true)
			}
		case resume:
			err = s.resumeStart(in)
		case over:
			return s.endAgain(), nil
		}
	}
	if err != nil {
		return s.failed(err), err
	}
	return s.supervise(), nil
}

// gcPercent keeps the heap small once the start is over: at the default of 100
// the collector lets it grow to 4 MiB before it looks at it for the first time.
// The units' environment has GOGC=off, so that no collection falls into a start
// or into a short run, and GOMAXPROCS=1: to set these here would stop the
// process in the middle of its start.
const gcPercent = 10

// prepare does what both kinds of start have in common.
func (s *shim) prepare(nameOrID string, in *notify.Inherited) error {
	var err error
	if s.rec, err = s.store.LoadStarting(nameOrID); err != nil {
		return err
	}
	s.starters = s.store.Starters(s.rec.ID)
	if s.lock, err = s.store.Hold(s.rec.ID); err != nil {
		return err
	}
	if s.sole, err = s.store.Supervise(s.rec.ID); err != nil {
		return fmt.Errorf("container %s runs already, in another unit: %w", s.rec.Name, err)
	}
	s.dir = s.store.RunDir(s.rec.ID)
	if s.unit, err = ownUnit(); err != nil {
		return err
	}
	s.unit.invocation = in.InvocationID
	s.oci = &ociRuntime{
		r:     s.rec.Runtime,
		state: filepath.Join(s.store.Run(), "runtime"),
		env:   childEnv(os.Environ()),
		start: s.kids.start,
	}
	s.server = newServer(s)
	return s.unit.enter()
}

// listen begins to serve the control socket.
func (s *shim) listen(in *notify.Inherited) error {
	for _, f := range in.Named(fdControl) {
		l, err := pollable(f)
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		if path := boundTo(l); path != "" {
			s.started.Control = path
		}
		s.server.serve(l)
	}
	return nil
}

// openLog opens the log and the stages of the run.
func (s *shim) openLog() error {
	path := ""
	if s.rec.Log.Driver == logs.K8sFile {
		path = filepath.Join(s.store.Dir(s.rec.ID), container.LogFile)
	}
	sink, err := logs.Open(logs.Config{
		Driver: s.rec.Log.Driver,
		Path:   path,
		ID:     s.rec.ID,
		Name:   s.rec.Name,
		Image:  s.rec.Image.Name,
		Tag:    s.rec.Log.Options["tag"],
		Units:  units(s.rec),
		Epoch:  s.started.Invocation,
	})
	if err != nil {
		return err
	}
	s.log, err = openRecorder(sink, filepath.Join(s.dir, "stage.log"))
	return err
}

// addStream takes over an output's read end.
func (s *shim) addStream(id logs.Stream, src *os.File) error {
	st, err := openStream(id, src, filepath.Join(s.dir, "stage."+id.String()))
	if err != nil {
		return err
	}
	if s.rec.Log.Driver == logs.None && s.started.Pid == 0 {
		if err := st.discardUnread(); err != nil {
			return err
		}
	}
	if s.streams == nil {
		s.streams = map[logs.Stream]*stream{}
	}
	s.streams[id] = st
	return nil
}

// settleTime is when what is not urgent for a start is done: most of a short
// run's time would go into it.
const settleTime = 200 * time.Millisecond

// supervise waits for the end of the container's init and clears up.
func (s *shim) supervise() int {
	if s.feed != nil {
		s.pumps.Go(s.feed.run)
	}
	for _, st := range s.streams {
		s.pumps.Go(func() { _ = st.pump(s.log) })
	}
	s.mu.Lock()
	s.running = true
	stopping := s.stopping
	s.mu.Unlock()
	status := "running, pid " + strconv.Itoa(s.init.pid)
	if s.unseen != nil {
		status += "; " + s.unseen.Error()
	}
	s.tell(notify.Ready, notify.Status(status))
	if stopping {
		s.sendStop()
	}
	settled := make(chan func(), 1)
	settle := time.AfterFunc(settleTime, func() {
		signal.Notify(s.signals, moreSignals...)
		settled <- s.followLimits()
		debug.SetGCPercent(gcPercent)
		debug.FreeOSMemory() // what the start took
	})
	ws, ok := s.waitInit()
	if !settle.Stop() {
		(<-settled)() // it would make the leaf again that finish removes
	}
	return s.finish(ws, ok)
}

// tell sends a message to systemd. A manager that does not listen is no reason
// to let a container down.
func (s *shim) tell(lines ...notify.Assignment) { _ = s.sd.Send(lines...) }

// waitInit returns init's status; ok is false if nobody knows it.
func (s *shim) waitInit() (ws unix.WaitStatus, ok bool) {
	if s.status != nil {
		return <-s.status, true
	}
	if err := s.init.gone(); err != nil {
		return 0, false
	}
	return s.init.status()
}

// exit makes the exit record.
func (s *shim) exit(ws unix.WaitStatus, ok bool) *container.Exit {
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	e := &container.Exit{
		Version:    1,
		Invocation: s.started.Invocation,
		Unit:       s.unit.name,
		Started:    s.started.Time,
		Finished:   time.Now(),
		Pid:        s.init.pid,
		Stopped:    stopping,
	}
	if ok {
		code, sig := exitCode(ws)
		e.Code, e.Signal = &code, sig
		e.OOMKilled = sig == int(unix.SIGKILL) && s.unit.oomKills() > 0
	}
	return e
}

// drainTime is how long the outputs may stay open when no process of the
// container is left: somebody outside it may have them.
const drainTime = 2 * time.Second

// finish clears up after a run that ended with this status and returns the
// code to end with.
func (s *shim) finish(ws unix.WaitStatus, ok bool) int {
	e := s.exit(ws, ok)
	if s.stopped() {
		s.tell(notify.Stopping)
	}
	// Processes outlive their init where it is not PID 1 of their namespace.
	_ = s.unit.killLeaf()
	unmounted := s.letMountsGo()
	removed := s.oci.forget(s.rec.ID)
	if s.feed != nil {
		s.feed.end()
	}
	for _, st := range s.streams {
		_ = st.src.SetReadDeadline(time.Now().Add(drainTime))
	}
	s.pumps.Wait()
	_ = s.log.close()

	if err := s.writeExit(e); err != nil {
		s.tell(notify.Status(err.Error()))
	}
	s.waitExecs()
	s.server.ended(wireExit(e))
	s.forgetRun()
	code := s.last(e)
	<-unmounted
	s.server.hangUp() // nobody need wait for the runtime to forget it too
	removed()
	s.unit.removeLeaf()
	return code
}

// letMountsGo gives up the container's mounts, while something else is done.
func (s *shim) letMountsGo() (done <-chan struct{}) {
	ch := make(chan struct{})
	if s.mounts == nil {
		close(ch)
		return ch
	}
	go func() {
		s.mounts.Close()
		close(ch)
	}()
	return ch
}

// writeExit leaves the exit record. A process that was killed after it had
// done so knew more than we may: its record stays.
func (s *shim) writeExit(e *container.Exit) error {
	if e.Code == nil {
		if was, err := s.store.Exit(s.rec.ID); err == nil && was != nil && was.Code != nil && was.Started.Equal(e.Started) {
			*e = *was
			return nil
		}
	}
	return s.store.WriteExit(s.rec.ID, e)
}

// last removes a container that is to be removed, or leaves word for the next
// start of it, and returns the code to end with: success to systemd if the end
// was asked for.
func (s *shim) last(e *container.Exit) int {
	code, status := 1, "exited, nobody knows how"
	switch {
	case e.Stopped:
		code, status = 0, "stopped"
	case e.Code != nil:
		code, status = *e.Code, "exited with "+strconv.Itoa(*e.Code)
	}
	if s.rec.AutoRemove {
		err := s.store.Remove(s.rec)
		if err == nil || errors.Is(err, container.ErrNotExist) {
			return code // and nobody is left to tell
		}
		status += "; " + err.Error()
	}
	s.leaveTrace()
	s.tell(notify.Status(status))
	return code
}

// connectTime bounds the wait for clients that are just connecting. One that
// was stopped meanwhile must not hold up the end.
const connectTime = time.Second

// closeDoor lets nobody connect any more and turns away who did and was not
// heard. The function it returns is called when the run's directory is gone.
func (s *shim) closeDoor() (open func()) {
	locked := make(chan *container.Lock, 1)
	go func() {
		lock, err := s.store.EndRun(s.rec.ID)
		if err != nil {
			lock = nil // the directory is gone already
		}
		locked <- lock
	}()
	var lock *container.Lock
	select {
	case lock = <-locked:
	case <-time.After(connectTime):
	}
	s.server.turnAway()
	return func() {
		if lock != nil {
			lock.Close()
		}
	}
}

// forgetRun removes what is left of a run that is over. Its descriptors stay in
// the store for the next process of this unit, if there is one, or go with the
// unit: to take each out by a message would cost systemd a process more.
func (s *shim) forgetRun() {
	defer s.closeDoor()()
	_ = os.RemoveAll(s.dir)
}

// leaveTrace puts this process's own pidfd into the store, where init's is too:
// the next process of this unit sees that a run is over, and whether this one
// ended by itself or was killed at its very end.
func (s *shim) leaveTrace() {
	self, err := openProcess(os.Getpid())
	if err != nil {
		return
	}
	_ = s.keep(fdSelf, self.f)
}

// failed clears up after a start that came to nothing.
func (s *shim) failed(err error) int {
	code := startCode(err)
	e := &container.Exit{
		Version:    1,
		Invocation: s.unit.invocation,
		Unit:       s.unit.name,
		Finished:   time.Now(),
		Code:       &code,
		Stopped:    s.stopped(),
		Error:      err.Error(),
	}
	end := code
	if errors.Is(err, errStopped) {
		e.Code, end = nil, 0 // nothing ran, nothing failed
	}
	status := err.Error()
	if werr := s.store.WriteExit(s.rec.ID, e); werr != nil {
		status += "; " + werr.Error()
	}
	_ = s.unit.killLeaf()
	s.letGo()
	told := s.server.ended(wireExit(e))
	s.starters.Tell(false)
	s.oci.removeLeftovers(s.rec.ID)
	s.forgetRun()
	if s.rec.AutoRemove && told {
		_ = s.store.Remove(s.rec)
	}
	var errno unix.Errno
	lines := []notify.Assignment{notify.Status(status)}
	if errors.As(err, &errno) {
		lines = append(lines, notify.Errno(errno))
	}
	s.tell(lines...)
	Report(s.rec, status)
	return end
}

func wireExit(e *container.Exit) wire.Exit {
	return wire.Exit{Code: e.Code, Signal: e.Signal, OOMKilled: e.OOMKilled, Stopped: e.Stopped, Error: e.Error}
}

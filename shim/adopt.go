package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/unit/notify"
)

// begin is what a start finds, and so what it is to do.
type begin int

const (
	beginAgain begin = iota // nothing, or less than a container: a cold start
	resume                  // a container that was made; whether it was started is not noted
	goOn                    // a run
	over                    // a run that has ended, and was not to be followed by another
)

// look finds out what an earlier process of this unit left. Each step of a
// run's beginning and end leaves a trace of its own, in this order: init in
// the store of descriptors, the note that it was started, the exit record; the
// runtime's state goes, the note goes.
func (s *shim) look(in *notify.Inherited) (begin, error) {
	if len(in.Named(fdInit)) == 0 {
		return beginAgain, nil
	}
	started, err := s.store.Started(s.rec.ID)
	if err != nil {
		return 0, fmt.Errorf("adopt container: %w", err)
	}
	if started != nil {
		s.started = *started
		return goOn, nil
	}
	if _, err := os.Lstat(filepath.Join(s.oci.state, s.rec.ID)); err == nil {
		return resume, nil
	}
	exit, err := s.store.Exit(s.rec.ID)
	if err != nil || exit == nil {
		return beginAgain, nil
	}
	again, known := lastEnded(in.Named(fdSelf))
	if !known {
		again = restarts(s.rec.Restart, exit)
	}
	if again {
		return beginAgain, nil
	}
	return over, nil
}

// lastEnded says whether the process that cleared the last run away ended by
// itself: then systemd starts the container again, by whatever policy the unit
// has. If it was killed, systemd starts the supervisor again and no container.
// known is false where the kernel does not tell.
func lastEnded(self []*os.File) (ended, known bool) {
	if len(self) == 0 {
		return false, true // killed before it was through
	}
	ws, ok := (&process{f: self[len(self)-1]}).status()
	return ok && ws.Exited(), ok
}

// restarts says whether systemd, by policy p, starts a container again that
// ended with e.
func restarts(p container.RestartPolicy, e *container.Exit) bool {
	switch p.Name {
	case "always", "unless-stopped":
		return !e.Stopped
	case "on-failure":
		return !e.Stopped && (e.Code == nil || *e.Code != 0)
	}
	return false
}

// endAgain ends a run whose supervisor was killed when all was done but this.
func (s *shim) endAgain() int {
	e, err := s.store.Exit(s.rec.ID)
	if err != nil || e == nil {
		e = &container.Exit{}
	}
	s.forgetRun()
	s.letGo() // once is enough
	return s.last(e)
}

// dropStore forgets what a run that is over, or a start that came to nothing,
// left in the store, and ends what it left running: the runtime itself may
// still be at work.
func (s *shim) dropStore(in *notify.Inherited) {
	for _, f := range in.Files {
		if f.Name() != fdControl {
			f.Close()
		}
	}
	if len(in.Named(fdStdin)) > 0 {
		_ = s.sd.Remove(fdStdin)
	}
	s.letGo()
	if s.unit.others() > 0 {
		s.unit.killOthers()
		s.unit.waitAlone()
	}
	if leaf := s.unit.leaf(); populated(leaf) {
		_ = killCgroup(leaf)
		waitEmpty(leaf)
	}
	s.unit.removeLeaf()
}

// adopt goes on with the container that an earlier process of this unit
// supervised. s.started is set.
func (s *shim) adopt(in *notify.Inherited) error {
	init, err := pollable(in.Named(fdInit)[0])
	if err != nil {
		return fmt.Errorf("adopt container: %w", err)
	}
	s.init = &process{s.started.Pid, init}
	if err := s.takeStdio(in); err != nil {
		return fmt.Errorf("adopt container: %w", err)
	}
	s.server.stdioReady()
	s.unseen = s.unit.copyLimits(s.rec) // systemd before 254 has them taken away: see Release
	return s.listen(in)
}

// resumeStart goes on where a process was killed between the making of a
// container and the note that it runs. Its command must not run twice: the
// runtime knows whether it does.
func (s *shim) resumeStart(in *notify.Inherited) error {
	s.unit.waitAlone() // "start" may be under way
	state, err := s.oci.query(s.dir, s.rec.ID)
	if err != nil || state.Status != "created" && state.Status != "running" {
		// Too early to tell, or it is over and nobody saw how.
		s.dropStore(in)
		return s.coldStart(in)
	}
	s.started = container.Started{
		Pid: state.Pid, Time: time.Now(), Unit: s.unit.name, Cgroup: s.unit.cgroup, Invocation: s.unit.invocation,
	}
	s.started.PidStart, _ = startTime(state.Pid)
	if state.Status == "running" {
		s.server.open()
	}
	if err := s.adopt(in); err != nil {
		return err
	}
	if state.Status == "created" {
		if err := s.awaitClient(); err != nil {
			return err
		}
		return s.start()
	}
	if err := s.store.WriteStarted(s.rec.ID, &s.started); err != nil {
		return err
	}
	s.starters.Tell(true)
	return nil
}

// runtimeState is what "state" tells.
type runtimeState struct {
	Status string `json:"status"`
	Pid    int    `json:"pid"`
}

// query asks the runtime for a container's state.
func (o *ociRuntime) query(dir, id string) (runtimeState, error) {
	var st runtimeState
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return st, err
	}
	defer null.Close()
	p, err := newPipe()
	if err != nil {
		return st, err
	}
	defer p.close()
	done, err := o.run(dir, os.DevNull, stdio{rawFD(null), rawFD(p.w), rawFD(null)}, "state", id)
	if err != nil {
		return st, err
	}
	if ws := <-done; ws != 0 {
		return st, errors.New("runtime state: it does not know the container")
	}
	return st, json.Unmarshal(drain(p.r), &st)
}

// openLogAgain is openLog for a run that may have logged before.
func (s *shim) openLogAgain() error {
	if err := s.openLog(); err != nil {
		return err
	}
	if err := s.log.recover(s.streams); err != nil {
		s.tell(notify.Status(err.Error()))
	}
	return nil
}

// others returns how many processes are in the supervisor's cgroup beside
// this one: runtimes that an earlier process started.
func (u unit) others() int { return len(u.otherPids()) }

func (u unit) otherPids() []int {
	data, err := os.ReadFile(filepath.Join(u.dir(), container.ShimCgroup, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killOthers kills them. They are not our children, but nobody in this cgroup
// forks for long: a number is not reused between the two calls.
func (u unit) killOthers() {
	for _, pid := range u.otherPids() {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// aloneTime is how long a runtime that an earlier process started may take.
const aloneTime = 10 * time.Second

// waitAlone waits for the others to end.
func (u unit) waitAlone() {
	for end := time.Now().Add(aloneTime); u.others() > 0 && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
}

// waitEmpty waits for the killed processes of a cgroup to be gone.
func waitEmpty(dir string) bool {
	for end := time.Now().Add(killTime); populated(dir); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

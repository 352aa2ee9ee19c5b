package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// Sweep ends what a run left whose shim was killed and will not be started
// again: processes, the runtime's state, the run's directory, with --rm the
// container. The exit record says what could still be observed.
//
// ErrInUse where a shim lives. Where there is nothing to do it costs two looks
// at the disk.
//
// Preconditions: systemd is not about to start the unit again.
func Sweep(store *container.Store, rec *container.Record) error {
	dir := store.RunDir(rec.ID)
	oci := &ociRuntime{r: rec.Runtime, state: filepath.Join(store.Run(), "runtime"), env: childEnv(os.Environ())}
	if !there(dir) && !there(filepath.Join(oci.state, rec.ID)) {
		return nil
	}
	lock, err := store.Lock(rec.ID)
	if err != nil {
		return err
	}
	defer lock.Close()
	started, err := store.Started(rec.ID)
	if err != nil {
		return err
	}
	if started != nil {
		if err := store.WriteExit(rec.ID, endOrphan(started)); err != nil {
			return err
		}
	}
	if there(filepath.Join(oci.state, rec.ID)) {
		if err := oci.removeAndWait(rec.ID); err != nil {
			return fmt.Errorf("sweep container %s: %w", rec.Name, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("sweep container %s: %w", rec.Name, err)
	}
	if rec.AutoRemove {
		return store.Remove(rec)
	}
	return nil
}

// removeAndWait is remove for a process that has no reaper: a verb's.
func (o *ociRuntime) removeAndWait(id string) error {
	argv := append([]string{o.r.Path}, o.r.Args...)
	p, err := os.StartProcess(o.r.Path, append(argv, "--root", o.state, "delete", "--force", id), &os.ProcAttr{Dir: "/", Env: o.env})
	if err != nil {
		return err
	}
	_, err = p.Wait() // a runtime that does not know the container has nothing to remove
	return err
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// endOrphan kills the processes of a run and says how its init ended.
func endOrphan(s *container.Started) *container.Exit {
	e := &container.Exit{
		Version: 1, Invocation: s.Invocation, Unit: s.Unit, Started: s.Time, Pid: s.Pid, Stopped: true,
	}
	init := sameProcess(s.Pid, s.PidStart)
	if mount, err := cgroup2Mount(); err == nil {
		_ = killCgroup(filepath.Join(mount, s.Cgroup, container.ContainerCgroup))
	}
	if init != nil {
		_ = init.signal(unix.SIGKILL) // with --cgroupns=host it may have left the leaf
		if init.gone() == nil {
			if ws, ok := init.status(); ok {
				code, sig := exitCode(ws)
				e.Code, e.Signal = &code, sig
			}
		}
		init.f.Close()
	}
	e.Finished = time.Now()
	return e
}

// sameProcess holds the process that had this number at that time; nil if it
// has ended.
func sameProcess(pid int, start uint64) *process {
	p, err := openProcess(pid)
	if err != nil {
		return nil
	}
	if now, err := startTime(pid); err != nil || now != start {
		p.f.Close()
		return nil
	}
	return p
}

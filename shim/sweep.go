package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// Sweep does for a shim that is dead and will not be started again what it
// would have done at the container's end: it kills what is left, leaves the
// exit record, and removes the run and, with --rm, the container. cgroup is the
// unit's, below the cgroup2 mount, or empty if only the run's own word for it
// is to be used. It says whether there was anything to do.
//
// Where a shim lives it does nothing and returns container.ErrInUse.
//
// Preconditions: the unit is not about to be started again by systemd.
func Sweep(store *container.Store, rec *container.Record, cgroup string) (swept bool, err error) {
	started, err := store.Started(rec.ID)
	if err != nil {
		started = nil // damaged: what is left is cleared away all the same
	}
	if started != nil && cgroup == "" {
		cgroup = started.Cgroup
	}
	mount, err := cgroup2Mount()
	if err != nil {
		return false, fmt.Errorf("sweep container %s: %w", rec.Name, err)
	}
	leaf := ""
	if cgroup != "" {
		leaf = filepath.Join(mount, cgroup, container.ContainerCgroup)
	}
	if !there(store.RunDir(rec.ID)) && !there(filepath.Join(store.Run(), "runtime", rec.ID)) && (leaf == "" || !populated(leaf)) {
		return false, nil
	}
	lock, err := store.Lock(rec.ID)
	if err != nil {
		return false, fmt.Errorf("sweep container %s: %w", rec.Name, err)
	}
	defer lock.Close()
	return true, sweep(store, rec, started, leaf)
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// killTime is how long killed processes may take to be gone.
const killTime = 10 * time.Second

func sweep(store *container.Store, rec *container.Record, started *container.Started, leaf string) error {
	var errs []error
	init := hold(started)
	if leaf != "" {
		errs = append(errs, killCgroup(leaf))
		if !waitEmpty(leaf) {
			errs = append(errs, fmt.Errorf("processes of %s do not die", leaf))
		}
	}
	if init != nil {
		_ = init.signal(unix.SIGKILL) // with the host's cgroups in sight it may have left the leaf
	}
	// A run that got as far as to be noted is over now: say so before the
	// note is gone.
	if started != nil {
		errs = append(errs, store.WriteExit(rec.ID, sweptExit(started, init)))
	}
	reportCrash(rec, store.RunDir(rec.ID))
	errs = append(errs, deleteRun(store, rec))
	if leaf != "" {
		removeCgroup(leaf)
	}
	if rec.AutoRemove && started != nil {
		if err := store.Remove(rec); !errors.Is(err, container.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep container %s: %w", rec.Name, err)
	}
	return nil
}

// hold returns the init of a run if it is still there.
func hold(started *container.Started) *process {
	if started == nil || started.Pid == 0 || started.PidStart == 0 {
		return nil
	}
	p, err := openProcess(started.Pid)
	if err != nil {
		return nil
	}
	if t, err := startTime(started.Pid); err != nil || t != started.PidStart {
		p.f.Close() // another one has the number now
		return nil
	}
	return p
}

// sweptExit is the exit record of a run that no shim watched to its end.
// Without its init, how it ended is not known.
func sweptExit(started *container.Started, init *process) *container.Exit {
	e := &container.Exit{
		Version:    1,
		Invocation: started.Invocation,
		Unit:       started.Unit,
		Started:    started.Time,
		Finished:   time.Now(),
		Pid:        started.Pid,
		Stopped:    true,
	}
	if init == nil {
		return e
	}
	defer init.f.Close()
	if ws, ok := init.status(); ok {
		code, sig := exitCode(ws)
		e.Code, e.Signal = &code, sig
	}
	return e
}

// deleteRun removes what the runtime and a shim left of a run.
func deleteRun(store *container.Store, rec *container.Record) error {
	o := &ociRuntime{
		r:     rec.Runtime,
		state: filepath.Join(store.Run(), "runtime"),
		env:   childEnv(os.Environ()),
		start: startAlone,
	}
	o.removeLeftovers(rec.ID)
	return os.RemoveAll(store.RunDir(rec.ID))
}

// startAlone executes a program in a process that is no supervisor: it waits
// for that one child only.
func startAlone(argv []string, attr *syscall.ProcAttr) (<-chan unix.WaitStatus, error) {
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", argv[0], err)
	}
	ch := make(chan unix.WaitStatus, 1)
	go func() {
		var ws unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
				break
			}
		}
		ch <- ws
	}()
	return ch, nil
}

package unit

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"
)

// warmFor is less than the shortest grace period of RCU; warmTime bounds what
// is done for a start that does not come.
const (
	warmFor  = 4 * time.Millisecond
	warmTime = 100 * time.Millisecond
)

// WarmUp has the kernel begin with what the start of a service will wait for,
// and keeps it at that until ctx ends. A caller that is about to ask for a
// start makes it in a goroutine of its own; how it ends is of no interest.
//
// To move a process into a cgroup the kernel takes a lock that every fork
// shares (cgroup_threadgroup_rwsem, a percpu_rw_semaphore). Where nobody has
// taken it for a grace period of RCU, it first waits for one, 6 to 15 ms on an
// idle machine (kernel/rcu/sync.c; not where cgroup2 is mounted with
// favordynmods). systemd moves each service's first process, even one that was
// cloned into its cgroup. Here the caller is moved to where it is, some
// microseconds each time but the first, so that the wait is over when systemd
// comes to it.
func WarmUp(ctx context.Context) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	_, path, ok := bytes.Cut(data, []byte("0::"))
	if !ok {
		return
	}
	path, _, _ = bytes.Cut(path, []byte("\n"))
	f, err := os.OpenFile(filepath.Join("/sys/fs/cgroup", string(path), "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return // cgroup v1, or not ours
	}
	defer f.Close()
	for end := time.Now().Add(warmTime); time.Now().Before(end) && ctx.Err() == nil; {
		if _, err := f.WriteString("0"); err != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(warmFor):
		}
	}
}

// Package warm spares the start of a service a wait in the kernel.
//
// To move a process into a cgroup the kernel takes a lock that every fork
// shares (cgroup_threadgroup_rwsem, a percpu_rw_semaphore). Where nobody has
// taken it for a grace period of RCU, it first waits for one, 6 to 15 ms on an
// idle machine (kernel/rcu/sync.c; not where cgroup2 is mounted with
// favordynmods). systemd moves each service's first process, even one that was
// cloned into its cgroup.
package warm

import (
	"bytes"
	"os"
	"path/filepath"
)

// Up moves this process to the cgroup where it is. The first time that takes
// the wait, so that a caller does something else meanwhile; after that the lock
// stays quick to take for another grace period. It does nothing where it cannot.
func Up() {
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
	_, _ = f.WriteString("0")
}

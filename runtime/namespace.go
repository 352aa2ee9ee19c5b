package runtime

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var cloneFlags = map[specs.LinuxNamespaceType]uint64{
	specs.PIDNamespace:     unix.CLONE_NEWPID,
	specs.NetworkNamespace: unix.CLONE_NEWNET,
	specs.MountNamespace:   unix.CLONE_NEWNS,
	specs.IPCNamespace:     unix.CLONE_NEWIPC,
	specs.UTSNamespace:     unix.CLONE_NEWUTS,
	specs.UserNamespace:    unix.CLONE_NEWUSER,
	specs.CgroupNamespace:  unix.CLONE_NEWCGROUP,
	specs.TimeNamespace:    unix.CLONE_NEWTIME,
}

// namespaces is what linux.namespaces asks for: which are made anew, which
// are joined.
type namespaces struct {
	fresh uint64
	join  []joined
}

// joined is a namespace that exists.
type joined struct {
	flag uint64
	path string
	fd   int // in launch.later
}

func namespacesOf(s *specs.Spec) namespaces {
	var n namespaces
	for _, ns := range s.Linux.Namespaces {
		if ns.Path == "" {
			n.fresh |= cloneFlags[ns.Type]
		} else {
			n.join = append(n.join, joined{cloneFlags[ns.Type], ns.Path, -1})
		}
	}
	return n
}

// joins says whether a namespace of the kind is joined.
func (n namespaces) joins(flag uint64) bool {
	for _, j := range n.join {
		if j.flag == flag {
			return true
		}
	}
	return false
}

// later are the namespaces that exist and that the init joins by itself, in
// that order: from within a cgroup namespace no process can be cloned into a
// cgroup outside of it (ENOENT, where cgroup2 is mounted with nsdelegate), a time
// or user namespace takes no process of several threads, and what is joined last
// is what would take away the right to join the others.
func (n namespaces) later() []joined {
	var list []joined
	for _, flag := range []uint64{unix.CLONE_NEWCGROUP, unix.CLONE_NEWTIME, unix.CLONE_NEWNS, unix.CLONE_NEWUSER} {
		for _, j := range n.join {
			if j.flag == flag {
				list = append(list, j)
			}
		}
	}
	return list
}

// all is every kind that the container does not share with the runtime.
func (n namespaces) all() uint64 {
	f := n.fresh
	for _, j := range n.join {
		f |= j.flag
	}
	return f
}

// enter joins a namespace with the calling thread.
// Preconditions: the thread is locked and never unlocked again; not a user
// namespace, which a process of several threads cannot join.
func (j joined) enter() error {
	fd, err := unix.Open(j.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", j.path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, int(j.flag)); err != nil {
		return fmt.Errorf("join namespace %s: %w", j.path, err)
	}
	return nil
}

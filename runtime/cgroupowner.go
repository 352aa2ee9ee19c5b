package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// giveTo makes the container's user the owner of the cgroup where the
// specification has it so ("Cgroup ownership" of config-linux.md): with a
// cgroup namespace of its own and the tree mounted to be written to, as who the
// process's user is on the host. It can divide the cgroup then, but not change
// its limits: those files are not among the ones that the kernel says may be
// given away.
func (c cgroup) giveTo(s *specs.Spec) error {
	uid := hostOr(s.Linux.UIDMappings, s.Process.User.UID)
	if uid == 0 || !dividesCgroup(s) {
		return nil
	}
	files := []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
	if b, err := readFile("/sys/kernel/cgroup/delegate"); err == nil { // Linux 4.15
		files = strings.Fields(string(b))
	}
	for _, file := range append([]string{"."}, files...) {
		err := unix.Lchown(c.dir+"/"+file, uid, -1)
		if err != nil && err != unix.ENOENT {
			return fmt.Errorf("give cgroup %s to %d: %w", c.dir, uid, err)
		}
	}
	return nil
}

// dividesCgroup says whether the container sees its cgroup as the root of a
// tree that it may write to.
func dividesCgroup(s *specs.Spec) bool {
	if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace && n.Path == "" }) {
		return false
	}
	return slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		return m.Destination == "/sys/fs/cgroup" && (m.Type == "cgroup" || m.Type == "cgroup2") && !slices.Contains(m.Options, "ro")
	})
}

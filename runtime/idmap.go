package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// idmapping is a user namespace whose mappings are a mount's.
type idmapping struct {
	uids, gids []specs.LinuxIDMapping // none: the container's own namespace
	fd         int
}

// checkIDMap checks what a mount says of its ids.
func (m *mount) checkIDMap(user bool) error {
	uids, gids := len(m.spec.UIDMappings) > 0, len(m.spec.GIDMappings) > 0
	switch {
	case uids != gids:
		return errors.New("uidMappings and gidMappings must be given together")
	case uids:
		m.opt.idmap = true
	case m.opt.idmap && !user:
		return errors.New("idmap needs mappings or a user namespace")
	}
	return nil
}

// openIDMaps opens the user namespaces that the mounts' ids are mapped by.
// Preconditions: the thread is in the host's mount namespace.
func (l *launch) openIDMaps() error {
	for i := range l.mounts {
		m := &l.mounts[i]
		if !m.opt.idmap {
			continue
		}
		fd, err := l.idmap(m.spec.UIDMappings, m.spec.GIDMappings)
		if err != nil {
			return fmt.Errorf("mount %s: map ids: %w", m.spec.Destination, err)
		}
		m.idmap = fd
	}
	return nil
}

// idmap opens a user namespace with the mappings, making one where no mount
// before had the same.
func (l *launch) idmap(uids, gids []specs.LinuxIDMapping) (fd int, err error) {
	for _, i := range l.idmaps {
		if slices.Equal(i.uids, uids) && slices.Equal(i.gids, gids) {
			return i.fd, nil
		}
	}
	if len(uids) == 0 {
		fd, err = openUserNS(l.pid)
	} else {
		fd, err = makeUserNS(uids, gids)
	}
	if err == nil {
		l.idmaps = append(l.idmaps, idmapping{uids, gids, fd})
	}
	return fd, err
}

func openUserNS(pid int) (int, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open user namespace of %d: %w", pid, err)
	}
	return fd, nil
}

// makeUserNS makes a user namespace that nobody lives in: its first process
// does nothing, and ends when the mappings are written.
func makeUserNS(uids, gids []specs.LinuxIDMapping) (int, error) {
	p, err := newProgram(0)
	if err != nil {
		return -1, err
	}
	defer p.close()
	pidfd := p.words(0)
	first := p.here()
	// Should we be killed before we have killed it.
	p.add("", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL)).flags = anyError
	p.add("", unix.SYS_PPOLL, 0, 0, p.words(10, 0), 0, 0).flags = anyError
	p.add("", unix.SYS_EXIT_GROUP, 0)
	args := cloneArgs{flags: unix.CLONE_NEWUSER | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD), pidfd: pidfd}
	pid, err := p.clone(&args, first)
	if err != nil {
		return -1, fmt.Errorf("make user namespace: %w", err)
	}
	unix.Close(int(p.load32(pidfd)))
	defer func() {
		unix.Kill(pid, unix.SIGKILL)
		reap(pid) //nolint:errcheck // it ends in any case
	}()
	dir := "/proc/" + strconv.Itoa(pid)
	if err := writeFile(dir+"/gid_map", mapText(gids)); err != nil {
		return -1, err
	}
	if err := writeFile(dir+"/uid_map", mapText(uids)); err != nil {
		return -1, err
	}
	return openUserNS(pid)
}

// mapText is what uid_map and gid_map are told.
func mapText(maps []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range maps {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// applyIDMap maps the ids of a detached tree.
func (m *mount) applyIDMap() error {
	if !m.opt.idmap {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if m.opt.idmapRec {
		flags |= unix.AT_RECURSIVE
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(m.idmap)}
	err := unix.MountSetattr(m.fd, "", flags, &attr)
	if err == unix.EINVAL {
		// Since Linux 5.12, file system by file system: tmpfs 6.3, overlay 5.19.
		return &UnsupportedError{Feature: "idmapped mount", Needs: "a file system that can be idmapped"}
	}
	if err != nil {
		return fmt.Errorf("map ids: %w", err)
	}
	return nil
}

package checkpoint

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

// mounts names the mounts that are the host's: their places in the container, and
// the paths that they have outside. Names that CRIU has no use for do no harm.
func mounts(s *specs.Spec) map[string]string {
	list := runtime.BindMounts(s)
	delete(list, "/")
	for _, p := range s.Linux.MaskedPaths {
		list[path.Clean(p)] = "/dev/null"
	}
	// In a user namespace device nodes are bound.
	for _, p := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom"} {
		list[p] = p
	}
	for i := range s.Linux.Devices {
		p := path.Clean(s.Linux.Devices[i].Path)
		list[p] = p
	}
	return list
}

// external makes CRIU's list of them: for a dump the name that each place gets in
// the image, itself, for a restore what is to be mounted for a name.
func external(list map[string]string, restore bool) []string {
	var out []string
	for at, source := range list {
		if !restore {
			source = at
		}
		out = append(out, fmt.Sprintf("mnt[%s]:%s", at, source))
	}
	slices.Sort(out)
	return out
}

// presentMasks drops the masked paths that a container of this init's does not
// mask by a file: CRIU makes the others, empty tmpfs, by itself.
func presentMasks(list map[string]string, s *specs.Spec, pid int) {
	for _, p := range s.Linux.MaskedPaths {
		var st unix.Stat_t
		err := unix.Lstat("/proc/"+strconv.Itoa(pid)+"/root"+path.Clean("/"+p), &st)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
			delete(list, path.Clean(p))
		}
	}
}

// joined are the namespaces that are not the container's own, which CRIU is to
// leave alone: those it supports that for.
var joined = map[specs.LinuxNamespaceType]struct {
	kind, key string
}{
	specs.NetworkNamespace: {"net", "extRootNetNS"},
	specs.PIDNamespace:     {"pid", "extRootPidNS"},
}

// namespaces names the joined namespaces at a dump.
func namespaces(s *specs.Spec) ([]string, error) {
	var list []string
	for _, ns := range s.Linux.Namespaces {
		j, ok := joined[ns.Type]
		if ns.Path == "" || !ok {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(ns.Path, &st); err != nil {
			return nil, fmt.Errorf("stat namespace %s: %w", ns.Path, err)
		}
		list = append(list, fmt.Sprintf("%s[%d]:%s", j.kind, st.Ino, j.key))
	}
	return list, nil
}

// giveNamespaces opens the joined namespaces for a restore.
func (p *peer) giveNamespaces(s *specs.Spec) (map[string]int32, error) {
	list := make(map[string]int32)
	for _, ns := range s.Linux.Namespaces {
		j, ok := joined[ns.Type]
		if ns.Path == "" || !ok {
			continue
		}
		f, err := os.Open(ns.Path)
		if err != nil {
			return nil, fmt.Errorf("open namespace: %w", err)
		}
		list[j.key] = p.give(f)
	}
	return list, nil
}

package bundle

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultCaps is what a container keeps of root's power, as Podman has it:
// without MKNOD, NET_RAW and AUDIT_WRITE, which Docker still grants.
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_SETUID", "CAP_SYS_CHROOT",
}

// allCaps by number, capability.h.
var allCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// Capabilities returns the set of a container that was asked for add and drop.
// ALL counts first on either side, then the single names: `--cap-drop ALL
// --cap-add CHOWN` leaves one.
func Capabilities(privileged bool, add, drop []string) ([]string, error) {
	add, err := capNames("cap-add", add)
	if err != nil {
		return nil, err
	}
	if drop, err = capNames("cap-drop", drop); err != nil {
		return nil, err
	}
	set := map[string]bool{}
	switch {
	case slices.Contains(drop, "CAP_ALL") && !slices.Contains(add, "CAP_ALL"):
	case privileged, slices.Contains(add, "CAP_ALL"):
		for _, c := range knownCaps() {
			set[c] = true
		}
	default:
		for _, c := range defaultCaps {
			set[c] = true
		}
	}
	for _, c := range drop {
		delete(set, c)
	}
	for _, c := range add {
		if c != "CAP_ALL" {
			set[c] = true
		}
	}
	caps := make([]string, 0, len(set))
	for c := range set {
		caps = append(caps, c)
	}
	slices.Sort(caps)
	return caps, nil
}

// CapName is the full name of a capability that a user named: CAP_CHOWN for
// chown. ALL stays ALL.
func CapName(c string) string {
	name := strings.TrimPrefix(strings.ToUpper(c), "CAP_")
	if name == "ALL" {
		return name
	}
	return "CAP_" + name
}

func capNames(flag string, in []string) ([]string, error) {
	out := make([]string, 0, len(in))
	for _, c := range in {
		name := CapName(c)
		if name == "ALL" {
			name = "CAP_ALL"
		}
		if name != "CAP_ALL" && !slices.Contains(allCaps, name) {
			return nil, fmt.Errorf("%s %q: no such capability: see capabilities(7)", flag, c)
		}
		out = append(out, name)
	}
	return out, nil
}

// knownCaps are those that this kernel has and that root is not denied here, as
// it is in a container: nobody can hand out more.
func knownCaps() []string {
	var known []string
	for n, c := range allCaps {
		if ok, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && ok == 1 {
			known = append(known, c)
		}
	}
	return known
}

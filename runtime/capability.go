package runtime

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// capabilities by name; the bit is the place in the list.
var capabilityNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// capabilitySets are the five sets as bits, and the last capability that the
// kernel has.
type capabilitySets struct {
	bounding, effective, inheritable, permitted, ambient uint64
	last                                                 uint64
}

// capabilitiesOf reads process.capabilities. What the kernel does not know is
// left out, as the specification allows (a warning in other runtimes); without
// the field there are none.
func capabilitiesOf(p *specs.Process) capabilitySets {
	sets := capabilitySets{last: lastCapability()}
	c := p.Capabilities
	if c == nil {
		return sets
	}
	known := uint64(1)<<(sets.last+1) - 1
	sets.bounding = capabilityBits(c.Bounding) & known
	sets.effective = capabilityBits(c.Effective) & known
	sets.inheritable = capabilityBits(c.Inheritable) & known
	sets.permitted = capabilityBits(c.Permitted) & known
	sets.ambient = capabilityBits(c.Ambient) & known
	return sets
}

func capabilityBits(names []string) uint64 {
	var bits uint64
	for _, n := range names {
		n = strings.ToUpper(n)
		for i, known := range capabilityNames {
			if n == known || n == known[len("CAP_"):] {
				bits |= 1 << i
				break
			}
		}
	}
	return bits
}

// lastCapability asks the kernel, rather than a file whose path may be the container's.
func lastCapability() uint64 {
	for c := uint64(unix.CAP_LAST_CAP); ; c++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c)+1, 0, 0, 0); err != nil || c == 62 {
			for c > 0 {
				if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err == nil {
					break
				}
				c--
			}
			return c
		}
	}
}

// data puts the two struct __user_cap_data_struct of capset into the program.
func (s capabilitySets) data(p *program) uint64 {
	lo := func(v uint64) uint64 { return v & 0xffffffff }
	return p.words(
		lo(s.effective)|lo(s.permitted)<<32,
		lo(s.inheritable)|s.effective>>32<<32,
		s.permitted>>32|s.inheritable>>32<<32,
	)
}

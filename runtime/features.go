package runtime

import (
	"maps"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Features is what this version of the runtime knows, whatever the kernel that
// it runs on: the tables that it goes by.
func Features() *features.Features {
	yes, no := true, false
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  knownMountOptions(),
		Linux: &features.Linux{
			Namespaces:   knownNamespaces(),
			Capabilities: capabilityNames,
			Cgroup:       &features.Cgroup{V1: &no, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp:      knownSeccomp(),
			Apparmor:     &features.Apparmor{Enabled: &yes},
			Selinux:      &features.Selinux{Enabled: &yes},
			IntelRdt:     &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MemoryPolicy: &features.MemoryPolicy{
				Modes: []string{
					"MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
					"MPOL_PREFERRED_MANY", "MPOL_LOCAL",
				},
				Flags: []string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"},
			},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		PotentiallyUnsafeConfigAnnotations: []string{"org.systemd.property."},
	}
}

func knownMountOptions() []string {
	list := []string{"bind", "rbind", "defaults", "remount", "tmpcopyup", "idmap", "ridmap"}
	for name := range attrOptions {
		list = append(list, name, "r"+name)
	}
	for name := range propagations {
		list = append(list, name, "r"+name)
	}
	list = slices.AppendSeq(list, maps.Keys(superOptions))
	list = append(list, mountFlags...)
	slices.Sort(list)
	return slices.Compact(list)
}

func knownNamespaces() []string {
	var list []string
	for name := range cloneFlags {
		list = append(list, string(name))
	}
	slices.Sort(list)
	return list
}

func knownSeccomp() *features.Seccomp {
	yes := true
	f := &features.Seccomp{Enabled: &yes}
	for _, a := range []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread,
		specs.ActLog, specs.ActNotify, specs.ActTrace, specs.ActTrap} {
		f.Actions = append(f.Actions, string(a))
	}
	for _, o := range []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual,
		specs.OpLessThan, specs.OpMaskedEqual, specs.OpNotEqual} {
		f.Operators = append(f.Operators, string(o))
	}
	for _, a := range abisOf[runtime.GOARCH] {
		f.Archs = append(f.Archs, string(a.name))
	}
	for flag, bit := range filterFlags {
		f.KnownFlags = append(f.KnownFlags, string(flag))
		if supportsFilterFlag(bit) {
			f.SupportedFlags = append(f.SupportedFlags, string(flag))
		}
	}
	slices.Sort(f.Archs)
	slices.Sort(f.KnownFlags)
	slices.Sort(f.SupportedFlags)
	return f
}

// supportsFilterFlag asks the kernel for a filter without a program: it looks
// at the flags first, then at the address.
func supportsFilterFlag(bit uint64) bool {
	if bit == unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
		bit |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER // means nothing without
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(bit), 0)
	return errno == unix.EFAULT
}

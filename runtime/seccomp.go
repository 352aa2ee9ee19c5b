package runtime

//go:generate go run syscalls_gen.go

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// syscallNumber is a row of the tables in syscalls_table.go, which are sorted by name.
type syscallNumber struct {
	name string
	nr   uint32
}

// abi is one way to call the kernel: what seccomp calls an architecture.
type abi struct {
	audit uint32
	table []syscallNumber
	x32   bool // calls are told by a bit in their number
}

const x32Bit = 0x40000000

// abisOf are the ways to call the kernel on each machine, the native one first.
var abisOf = map[string][]struct {
	name specs.Arch
	abi  abi
}{
	"amd64": {
		{specs.ArchX86_64, abi{audit: unix.AUDIT_ARCH_X86_64, table: syscallsamd64}},
		{specs.ArchX86, abi{audit: unix.AUDIT_ARCH_I386, table: syscalls386}},
		{specs.ArchX32, abi{audit: unix.AUDIT_ARCH_X86_64, table: syscallsamd64, x32: true}},
	},
	"arm64": {
		{specs.ArchAARCH64, abi{audit: unix.AUDIT_ARCH_AARCH64, table: syscallsarm64}},
		{specs.ArchARM, abi{audit: unix.AUDIT_ARCH_ARM, table: syscallsarm}},
	},
}

// x32Numbers are the calls whose x32 number is not x86_64's.
var x32Numbers = map[string]uint32{
	"rt_sigaction": 512, "rt_sigreturn": 513, "ioctl": 514, "readv": 515, "writev": 516, "recvfrom": 517,
	"sendmsg": 518, "recvmsg": 519, "execve": 520, "ptrace": 521, "rt_sigpending": 522, "rt_sigtimedwait": 523,
	"rt_sigqueueinfo": 524, "sigaltstack": 525, "timer_create": 526, "mq_notify": 527, "kexec_load": 528,
	"waitid": 529, "set_robust_list": 530, "get_robust_list": 531, "vmsplice": 532, "move_pages": 533,
	"preadv": 534, "pwritev": 535, "rt_tgsigqueueinfo": 536, "recvmmsg": 537, "sendmmsg": 538,
	"process_vm_readv": 539, "process_vm_writev": 540, "setsockopt": 541, "getsockopt": 542, "io_setup": 543,
	"io_submit": 544, "execveat": 545, "preadv2": 546, "pwritev2": 547,
}

// number looks a system call up by its name, beginning where the last was
// found: profiles list them in the order of the tables, too.
func (a *abi) number(name string, last *int) (uint32, bool) {
	i, found := *last, false
	for end := min(i+8, len(a.table)); i < end && !found; i++ {
		if found = a.table[i].name == name; found {
			break
		}
	}
	if !found {
		i, found = slices.BinarySearchFunc(a.table, name, func(s syscallNumber, name string) int { return strings.Compare(s.name, name) })
	}
	if !found {
		return 0, false
	}
	*last = i
	nr := a.table[i].nr
	if a.x32 {
		if n, ok := x32Numbers[name]; ok {
			nr = n
		}
		nr |= x32Bit
	}
	return nr, true
}

// What a filter returns, from linux/seccomp.h.
const (
	retKillProcess = 0x80000000
	retKillThread  = 0x00000000
	retTrap        = 0x00030000
	retErrno       = 0x00050000
	retNotify      = 0x7fc00000
	retTrace       = 0x7ff00000
	retLog         = 0x7ffc0000
	retAllow       = 0x7fff0000
)

// retOf is what a filter returns for an action.
func retOf(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		data = uint32(*errno) & 0xffff
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return retKillThread, nil
	case specs.ActKillProcess:
		return retKillProcess, nil
	case specs.ActTrap:
		return retTrap, nil
	case specs.ActErrno:
		return retErrno | data, nil
	case specs.ActTrace:
		return retTrace | data, nil
	case specs.ActAllow:
		return retAllow, nil
	case specs.ActLog:
		return retLog, nil
	case specs.ActNotify:
		return retNotify, nil
	}
	return 0, fmt.Errorf("seccomp: unknown action %q", a)
}

// filterFlags are the flags of seccomp(2), linux/seccomp.h.
var filterFlags = map[specs.LinuxSeccompFlag]uint64{
	specs.LinuxSeccompFlagLog:              unix.SECCOMP_FILTER_FLAG_LOG,
	specs.LinuxSeccompFlagSpecAllow:        unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
	specs.LinuxSeccompFlagWaitKillableRecv: unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
	"SECCOMP_FILTER_FLAG_TSYNC":            0, // the process has one thread
}

// filter is a compiled profile, or why there is none.
type filter struct {
	code  []unix.SockFilter
	flags uint64
	err   error
}

func newFilter(s *specs.LinuxSeccomp) filter {
	code, flags, err := compileSeccomp(s)
	return filter{code, flags, err}
}

// compileSeccomp compiles linux.seccomp for the machine that this is.
func compileSeccomp(s *specs.LinuxSeccomp) ([]unix.SockFilter, uint64, error) {
	if s == nil {
		return nil, 0, nil
	}
	flags := uint64(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	if s.Flags != nil {
		flags = 0
		for _, f := range s.Flags {
			bit, ok := filterFlags[f]
			if !ok {
				return nil, 0, fmt.Errorf("seccomp: unknown flag %q", f)
			}
			flags |= bit
		}
	}
	if notifies(s) {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	} else {
		// Of the listener, and refused without (Linux 5.19).
		flags &^= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	prog, err := compileFor(s, machine)
	return prog, flags, err
}

// compileFor compiles a profile for a machine.
func compileFor(s *specs.LinuxSeccomp, machine string) ([]unix.SockFilter, error) {
	abis, err := abisFor(s.Architectures, machine)
	if err != nil {
		return nil, err
	}
	deflt, err := retOf(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	a := assembler{make([]unix.SockFilter, 0, 1024)}
	var spare []rule
	blocks := make([]int, len(abis))
	for i := len(abis) - 1; i >= 0; i-- {
		rules, err := rulesFor(&abis[i], s, spare)
		if err != nil {
			return nil, err
		}
		spare = rules
		blocks[i] = a.block(rules, deflt, newerThan(s, rules, deflt))
	}
	return a.finish(abis, blocks)
}

// abisFor are the machine's ways to call the kernel that the profile names; the
// native one always, what other machines have never.
func abisFor(names []specs.Arch, machine string) ([]abi, error) {
	for _, n := range names {
		if !strings.HasPrefix(string(n), "SCMP_ARCH_") {
			return nil, fmt.Errorf("seccomp: unknown architecture %q", n)
		}
	}
	all := abisOf[machine]
	if len(all) == 0 {
		return nil, &UnsupportedError{Feature: "seccomp on " + machine}
	}
	list := []abi{all[0].abi}
	for _, o := range all[1:] {
		for _, n := range names {
			if n == o.name {
				list = append(list, o.abi)
				break
			}
		}
	}
	return list, nil
}

// rule is what happens to one system call: the first condition that holds
// decides, then otherwise.
type rule struct {
	nr        uint32
	cases     []ruleCase
	otherwise uint32
	final     bool // otherwise was said by the profile, not by its default
	known     bool // the profile says something of it
}

type ruleCase struct {
	args []specs.LinuxSeccompArg
	ret  uint32
}

// dense is a number that those of all calls are below, but for a handful that
// are 32-bit ARM's own.
const dense = 1024

// rulesFor sorts the profile's rules by system call. Calls that the tables do
// not know are passed over: an older kernel has none of them, a newer one gets
// newerThan's answer. The result is made in spare, if that is large enough. All
// this runs at every start.
func rulesFor(a *abi, s *specs.LinuxSeccomp, spare []rule) ([]rule, error) {
	deflt, err := retOf(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	rules := spare[:cap(spare)]
	if len(rules) < dense {
		rules = make([]rule, dense)
	} else {
		clear(rules)
	}
	var far []rule
	find := func(nr uint32) *rule {
		if slot := nr &^ x32Bit; slot < dense {
			return &rules[slot]
		}
		i := slices.IndexFunc(far, func(r rule) bool { return r.nr == nr })
		if i < 0 {
			i, far = len(far), append(far, rule{})
		}
		return &far[i]
	}
	last := 0
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		ret, err := retOf(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, err
		}
		cases, err := casesOf(call.Args, ret)
		if err != nil {
			return nil, err
		}
		for _, name := range call.Names {
			nr, ok := a.number(name, &last)
			if !ok {
				continue
			}
			r := find(nr)
			if !r.known {
				*r = rule{nr: nr, otherwise: deflt, known: true}
			}
			if len(cases) > 0 {
				r.cases = append(r.cases, cases...)
			} else if !r.final {
				r.otherwise, r.final = ret, true
			}
		}
	}
	n := 0
	for i := range rules {
		if rules[i].known {
			rules[n] = rules[i]
			n++
		}
	}
	slices.SortFunc(far, func(a, b rule) int { return cmp.Compare(a.nr, b.nr) })
	return append(rules[:n], far...), nil
}

// casesOf turns a rule's conditions into cases: all of them must hold, except
// that two on the same argument are alternatives, as every runtime that came
// from libseccomp reads them.
func casesOf(args []specs.LinuxSeccompArg, ret uint32) ([]ruleCase, error) {
	var count [6]int
	twice := false
	for _, a := range args {
		if a.Index > 5 {
			return nil, fmt.Errorf("seccomp: no argument %d", a.Index)
		}
		switch a.Op {
		case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
			specs.OpGreaterThan, specs.OpMaskedEqual:
		default:
			return nil, fmt.Errorf("seccomp: unknown operator %q", a.Op)
		}
		count[a.Index]++
		twice = twice || count[a.Index] > 1
	}
	if len(args) == 0 {
		return nil, nil
	}
	if !twice {
		return []ruleCase{{args, ret}}, nil
	}
	cases := make([]ruleCase, len(args))
	for i := range args {
		cases[i] = ruleCase{args[i : i+1], ret}
	}
	return cases, nil
}

// newerThan says from which number on calls are unknown to the profile rather
// than refused by it. Programs fall back on ENOSYS and not on EPERM, so those
// get ENOSYS. A profile that lets through what it does not know has none.
func newerThan(s *specs.LinuxSeccomp, rules []rule, deflt uint32) uint32 {
	if len(rules) == 0 || deflt == retAllow || deflt == retLog || deflt&0xffff0000 == retTrace || deflt == retNotify ||
		deflt == retErrno|uint32(unix.ENOSYS) {
		return 0
	}
	return rules[len(rules)-1].nr + 1
}

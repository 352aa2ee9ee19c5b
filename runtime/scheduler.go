package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// schedPolicy reads a scheduling policy, linux/sched.h.
func schedPolicy(p specs.LinuxSchedulerPolicy) (uint32, bool) {
	switch p {
	case specs.SchedOther:
		return 0, true
	case specs.SchedFIFO:
		return 1, true
	case specs.SchedRR:
		return 2, true
	case specs.SchedBatch:
		return 3, true
	case specs.SchedISO:
		return 4, true // a number that Linux keeps for it
	case specs.SchedIdle:
		return 5, true
	case specs.SchedDeadline:
		return 6, true
	}
	return 0, false
}

func schedFlag(f specs.LinuxSchedulerFlag) uint64 {
	switch f {
	case specs.SchedFlagResetOnFork:
		return 0x01
	case specs.SchedFlagReclaim:
		return 0x02
	case specs.SchedFlagDLOverrun:
		return 0x04
	case specs.SchedFlagKeepPolicy:
		return 0x08
	case specs.SchedFlagKeepParams:
		return 0x10
	case specs.SchedFlagUtilClampMin:
		return 0x20
	case specs.SchedFlagUtilClampMax:
		return 0x40
	}
	return 0
}

// schedAttr is what sched_setattr takes of process.scheduler.
func schedAttr(s *specs.Scheduler) (*unix.SchedAttr, error) {
	policy, ok := schedPolicy(s.Policy)
	if !ok {
		return nil, fmt.Errorf("scheduler: unknown policy %q", s.Policy)
	}
	realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR
	switch {
	case s.Nice < -20 || s.Nice > 19:
		return nil, fmt.Errorf("scheduler: nice %d is not from -20 to 19", s.Nice)
	case s.Priority != 0 && !realtime:
		return nil, fmt.Errorf("scheduler: %s has no priority", s.Policy)
	case (s.Runtime != 0 || s.Deadline != 0 || s.Period != 0) && s.Policy != specs.SchedDeadline:
		return nil, fmt.Errorf("scheduler: %s has no runtime, deadline and period", s.Policy)
	}
	a := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(s.Priority),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
	}
	for _, f := range s.Flags {
		bit := schedFlag(f)
		if bit == 0 {
			return nil, fmt.Errorf("scheduler: unknown flag %q", f)
		}
		a.Flags |= bit
	}
	return a, nil
}

// ioPriority is what ioprio_set takes.
func ioPriority(p *specs.LinuxIOPriority) (uintptr, error) {
	class := uintptr(0)
	switch p.Class {
	case specs.IOPRIO_CLASS_RT:
		class = 1
	case specs.IOPRIO_CLASS_BE:
		class = 2
	case specs.IOPRIO_CLASS_IDLE:
		class = 3
	default:
		return 0, fmt.Errorf("ioPriority: unknown class %q", p.Class)
	}
	if p.Priority < 0 || p.Priority > 7 {
		return 0, fmt.Errorf("ioPriority: %d is not from 0 to 7", p.Priority)
	}
	return class<<13 | uintptr(p.Priority), nil
}

// schedule gives a process that waits its scheduling and its I/O priority, from
// outside: in a user namespace it could not give itself all of them.
func schedule(pid int, p *specs.Process) error {
	if p.Scheduler != nil {
		a, err := schedAttr(p.Scheduler)
		if err != nil {
			return err
		}
		switch err := unix.SchedSetAttr(pid, a, 0); {
		case err == unix.EINVAL && p.Scheduler.Policy == specs.SchedISO, err == unix.EOPNOTSUPP:
			return &UnsupportedError{Feature: fmt.Sprintf("scheduler %s %v", p.Scheduler.Policy, p.Scheduler.Flags), Needs: "a kernel that has it"}
		case err != nil:
			return fmt.Errorf("set scheduler %s: %w", p.Scheduler.Policy, err)
		}
	}
	if p.IOPriority != nil {
		prio, err := ioPriority(p.IOPriority)
		if err != nil {
			return err
		}
		const whoProcess = 1
		_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(pid), prio)
		if errno == unix.ENOSYS {
			return &UnsupportedError{Feature: "ioPriority", Needs: "a kernel with CONFIG_BLOCK"}
		}
		if errno != 0 {
			return fmt.Errorf("set ioPriority %s: %w", p.IOPriority.Class, errno)
		}
	}
	return nil
}

// maxBit bounds the numbers of CPUs and memory nodes; the kernel's own limits
// are 8192 and 1024.
const maxBit = 8192

// bitList reads a list of numbers as the kernel prints it, "0-3,7", into the
// words of a bit mask.
func bitList(s string) ([]uint64, error) {
	var words []uint64
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 32)
		to, err2 := strconv.ParseUint(last, 10, 32)
		if err != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("%q is no list of numbers", s)
		}
		if to >= maxBit {
			return nil, fmt.Errorf("%q: more than %d", s, maxBit-1)
		}
		for i := from; i <= to; i++ {
			for uint64(len(words)) <= i/64 {
				words = append(words, 0)
			}
			words[i/64] |= 1 << (i % 64)
		}
	}
	return words, nil
}

// setAffinity sets the CPUs of the calling thread, and of whom it clones.
func setAffinity(cpus string) error {
	if cpus == "" {
		return nil
	}
	words, err := bitList(cpus)
	if err != nil {
		return fmt.Errorf("execCPUAffinity: %w", err)
	}
	var set unix.CPUSet
	for i, w := range words {
		for b := range 64 {
			if w&(1<<b) != 0 {
				set.Set(i*64 + b)
			}
		}
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("set CPU affinity %s: %w", cpus, err)
	}
	return nil
}

// affinity adds the step that sets the CPUs of the process itself.
func (p *program) affinity(cpus string) error {
	if cpus == "" {
		return nil
	}
	words, err := bitList(cpus)
	if err != nil {
		return fmt.Errorf("execCPUAffinity: %w", err)
	}
	p.add("set CPU affinity "+cpus, unix.SYS_SCHED_SETAFFINITY, 0, uint64(8*len(words)), p.words(words...))
	return nil
}

// personality adds the step of linux.personality.
func (p *program) personality(s *specs.LinuxPersonality) error {
	if s == nil {
		return nil
	}
	if len(s.Flags) > 0 {
		return &UnsupportedError{Feature: fmt.Sprintf("personality flags %v", s.Flags)} // the specification has none
	}
	var domain uint64
	switch s.Domain {
	case specs.PerLinux:
	case specs.PerLinux32:
		domain = 8
	default:
		return fmt.Errorf("personality: unknown domain %q", s.Domain)
	}
	p.add("set personality", unix.SYS_PERSONALITY, domain)
	return nil
}

// memoryPolicy adds the step of linux.memoryPolicy.
func (p *program) memoryPolicy(s *specs.LinuxMemoryPolicy) error {
	if s == nil {
		return nil
	}
	mode := uint64(0)
	switch s.Mode { // linux/mempolicy.h
	case specs.MpolDefault:
	case specs.MpolPreferred:
		mode = 1
	case specs.MpolBind:
		mode = 2
	case specs.MpolInterleave:
		mode = 3
	case specs.MpolLocal:
		mode = 4
	case specs.MpolPreferredMany:
		mode = 5 // Linux 5.15
	case specs.MpolWeightedInterleave:
		mode = 6 // Linux 6.9
	default:
		return fmt.Errorf("memoryPolicy: unknown mode %q", s.Mode)
	}
	for _, f := range s.Flags {
		switch f {
		case specs.MpolFNumaBalancing:
			mode |= 1 << 13
		case specs.MpolFRelativeNodes:
			mode |= 1 << 14
		case specs.MpolFStaticNodes:
			mode |= 1 << 15
		default:
			return fmt.Errorf("memoryPolicy: unknown flag %q", f)
		}
	}
	nodes, bits := uint64(0), uint64(0)
	if s.Nodes != "" {
		words, err := bitList(s.Nodes)
		if err != nil {
			return fmt.Errorf("memoryPolicy: nodes: %w", err)
		}
		nodes, bits = p.words(words...), uint64(64*len(words)+1) // the kernel takes one off
	}
	p.add(fmt.Sprintf("set memory policy %s %s", s.Mode, s.Nodes), unix.SYS_SET_MEMPOLICY, mode, nodes, bits)
	return nil
}

// checkScheduling checks what a process says of CPUs and disks, before anything
// is made.
func checkScheduling(p *specs.Process) error {
	var errs []error
	if p.Scheduler != nil {
		_, err := schedAttr(p.Scheduler)
		errs = append(errs, err)
	}
	if p.IOPriority != nil {
		_, err := ioPriority(p.IOPriority)
		errs = append(errs, err)
	}
	if a := p.ExecCPUAffinity; a != nil {
		for _, cpus := range []string{a.Initial, a.Final} {
			if cpus != "" {
				_, err := bitList(cpus)
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

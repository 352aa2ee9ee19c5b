package runtime

import (
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is struct seccomp_data.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// evaluate runs a filter as the kernel would, and fails the test where the
// kernel would refuse it.
func evaluate(t *testing.T, prog []unix.SockFilter, c call) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data, c.nr)
	binary.LittleEndian.PutUint32(data[4:], c.arch)
	for i, a := range c.args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; ; pc++ {
		if pc >= len(prog) {
			t.Fatalf("jump beyond the program of %d", len(prog))
		}
		f := prog[pc]
		cond := func(b bool) {
			if b {
				pc += int(f.Jt)
			} else {
				pc += int(f.Jf)
			}
		}
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[f.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= f.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(f.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			cond(acc == f.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			cond(acc >= f.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			cond(acc > f.K)
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		default:
			t.Fatalf("instruction %#x at %d", f.Code, pc)
		}
	}
}

// expect is the profile read without compiling it.
func expect(t *testing.T, s *specs.LinuxSeccomp, machine string, c call) uint32 {
	t.Helper()
	abis, err := abisFor(s.Architectures, machine)
	if err != nil {
		t.Fatal(err)
	}
	deflt, _ := retOf(s.DefaultAction, s.DefaultErrnoRet)
	for i := range abis {
		a := &abis[i]
		x32 := a.audit == unix.AUDIT_ARCH_X86_64 && c.nr >= x32Bit
		if a.audit != c.arch || x32 != a.x32 {
			continue
		}
		rules, err := rulesFor(a, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if newer := newerThan(s, rules, deflt); newer > 0 && c.nr >= newer {
			return retErrno | uint32(unix.ENOSYS)
		}
		for _, r := range rules {
			if r.nr != c.nr {
				continue
			}
			for _, k := range r.cases {
				if holds(k.args, c) {
					return k.ret
				}
			}
			return r.otherwise
		}
		return deflt
	}
	return retKillThread
}

func holds(args []specs.LinuxSeccompArg, c call) bool {
	for _, a := range args {
		v, ok := c.args[a.Index], false
		switch a.Op {
		case specs.OpNotEqual:
			ok = v != a.Value
		case specs.OpLessThan:
			ok = v < a.Value
		case specs.OpLessEqual:
			ok = v <= a.Value
		case specs.OpEqualTo:
			ok = v == a.Value
		case specs.OpGreaterEqual:
			ok = v >= a.Value
		case specs.OpGreaterThan:
			ok = v > a.Value
		case specs.OpMaskedEqual:
			ok = v&a.Value == a.ValueTwo
		}
		if !ok {
			return false
		}
	}
	return true
}

// values are where comparisons of halves go wrong.
var values = []uint64{0, 1, 2, 40, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 | 1, 1<<32 - 2, 1 << 63, ^uint64(0), 0x7e020000}

func randomProfile(r *rand.Rand) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActLog, specs.ActTrap}
	ops := []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}
	pick := func(n int) int { return r.IntN(n) }
	s := &specs.LinuxSeccomp{DefaultAction: actions[pick(len(actions))]}
	if pick(2) == 0 {
		s.Architectures = []specs.Arch{specs.ArchX86, specs.ArchX32, specs.ArchX86_64, specs.ArchARM, specs.ArchAARCH64}
	}
	for range 1 + pick(25) {
		c := specs.LinuxSyscall{Action: actions[pick(len(actions))]}
		for range 1 + pick(8) {
			c.Names = append(c.Names, syscallsamd64[pick(len(syscallsamd64))].name)
		}
		if pick(2) == 0 {
			e := uint(pick(200))
			c.ErrnoRet = &e
		}
		for range pick(4) {
			c.Args = append(c.Args, specs.LinuxSeccompArg{Index: uint(pick(6)), Op: ops[pick(len(ops))],
				Value: values[pick(len(values))], ValueTwo: values[pick(len(values))]})
		}
		s.Syscalls = append(s.Syscalls, c)
	}
	return s
}

func TestSeccompAgreesWithProfile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	compiled := 0
	for range 60 {
		s := randomProfile(r)
		for _, m := range []string{"amd64", "arm64"} {
			prog, err := compileFor(s, m)
			if err != nil {
				continue // too large, which the last lines look at
			}
			compiled++
			for range 1500 {
				c := call{nr: uint32(r.IntN(480)), arch: abisOf[m][r.IntN(len(abisOf[m]))].abi.audit}
				switch r.IntN(10) {
				case 0:
					c.nr |= x32Bit
				case 1:
					c.arch = unix.AUDIT_ARCH_S390X
				case 2:
					c.nr = ^uint32(0)
				}
				for i := range c.args {
					c.args[i] = values[r.IntN(len(values))]
				}
				if got, want := evaluate(t, prog, c), expect(t, s, m, c); got != want {
					t.Fatalf("%s: %+v: got %#x, want %#x", m, c, got, want)
				}
			}
		}
	}
	if compiled < 60 {
		t.Errorf("only %d of 120 profiles compiled", compiled)
	}
}

func TestSeccompTablesAreSorted(t *testing.T) {
	for m, list := range abisOf {
		for _, a := range list {
			for i := 1; i < len(a.abi.table); i++ {
				if a.abi.table[i-1].name >= a.abi.table[i].name {
					t.Errorf("%s %s: %s is before %s", m, a.name, a.abi.table[i-1].name, a.abi.table[i].name)
				}
			}
			if _, ok := a.abi.number("openat2", new(int)); !ok {
				t.Errorf("%s %s: openat2 is missing", m, a.name)
			}
		}
	}
}

func TestSeccompRefuses(t *testing.T) {
	for name, s := range map[string]*specs.LinuxSeccomp{
		"action":       {DefaultAction: "SCMP_ACT_MAYBE"},
		"rule":         {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: "x"}}},
		"architecture": {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"amd64"}},
		"flag":         {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"x"}},
		"index": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
		"operator": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Op: "~"}}}}},
	} {
		if _, _, err := compileSeccomp(s); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

func FuzzSeccomp(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]}]}`), uint32(0), uint64(7))
	f.Fuzz(func(t *testing.T, b []byte, nr uint32, arg uint64) {
		var s specs.LinuxSeccomp
		if json.Unmarshal(b, &s) != nil {
			return
		}
		for _, m := range []string{"amd64", "arm64"} {
			prog, err := compileFor(&s, m)
			if err != nil {
				continue
			}
			if len(prog) == 0 || len(prog) > maxFilter {
				t.Fatalf("program of %d", len(prog))
			}
			c := call{nr: nr, arch: abisOf[m][0].abi.audit, args: [6]uint64{arg, arg, arg, arg, arg, arg}}
			if got, want := evaluate(t, prog, c), expect(t, &s, m, c); got != want {
				t.Fatalf("got %#x, want %#x", got, want)
			}
		}
	})
}

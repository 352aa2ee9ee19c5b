package runtime

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// assembler writes classic BPF from the end to the beginning: wherever a jump
// is written, all that it can go to is there already, so its length is known.
// A place in the program is its distance from the end.
type assembler struct{ code []unix.SockFilter }

const maxFilter = 4096 // BPF_MAXINSNS

// Where the kernel puts a call's description: struct seccomp_data.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

func (a *assembler) emit(code uint16, k uint32) int {
	a.code = append(a.code, unix.SockFilter{Code: code, K: k})
	return len(a.code) - 1
}

func (a *assembler) ret(k uint32) int    { return a.emit(unix.BPF_RET|unix.BPF_K, k) }
func (a *assembler) load(off uint32) int { return a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off) }
func (a *assembler) and(mask uint32) int { return a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask) }
func (a *assembler) distance(to int) int { return len(a.code) - to - 1 }

// jump writes a conditional jump. Conditional jumps reach 255 instructions;
// a place further off is reached by an unconditional one in between.
func (a *assembler) jump(op uint16, k uint32, yes, no int) int {
	yes = a.near(yes)
	no = a.near(no)
	f := unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: uint8(a.distance(yes)), Jf: uint8(a.distance(no))}
	a.code = append(a.code, f)
	return len(a.code) - 1
}

// near is to, or the place of a jump to it. One more instruction may follow,
// for the jump's other target.
func (a *assembler) near(to int) int {
	if a.distance(to) < 255 {
		return to
	}
	return a.emit(unix.BPF_JMP|unix.BPF_JA, uint32(a.distance(to)))
}

// block writes the part of a filter for one way of calling: a binary search
// for the call's number. It returns its place.
func (a *assembler) block(rules []rule, deflt, newer uint32) int {
	a.search(spansOf(rules, deflt, newer))
	return a.load(dataNr)
}

// span is a range of numbers, up to the next span's first, with one answer.
type span struct {
	first uint32
	ret   uint32
	rule  *rule // has cases
}

// spansOf joins neighbouring numbers with the same answer.
func spansOf(rules []rule, deflt, newer uint32) []span {
	list := make([]span, 1, 2*len(rules)+2)
	list[0] = span{0, deflt, nil}
	add := func(s span) {
		last := &list[len(list)-1]
		switch {
		case last.first == s.first:
			*last = s
			if n := len(list); n > 1 && s.rule == nil && list[n-2].rule == nil && list[n-2].ret == s.ret {
				list = list[:n-1]
			}
		case s.rule != nil || last.rule != nil || last.ret != s.ret:
			list = append(list, s)
		}
	}
	for i := range rules {
		r := &rules[i]
		s := span{first: r.nr, ret: r.otherwise}
		if len(r.cases) > 0 {
			s.rule = r
		}
		add(s)
		add(span{first: r.nr + 1, ret: deflt})
	}
	if newer > 0 {
		add(span{first: newer, ret: retErrno | uint32(unix.ENOSYS)})
	}
	return list
}

// search writes the search among spans, and returns its place.
func (a *assembler) search(spans []span) int {
	if len(spans) == 1 {
		if spans[0].rule != nil {
			return a.cases(spans[0].rule)
		}
		return a.ret(spans[0].ret)
	}
	mid := len(spans) / 2
	high := a.search(spans[mid:])
	low := a.search(spans[:mid])
	return a.jump(unix.BPF_JGE, spans[mid].first, high, low)
}

// cases writes the conditions of one call.
func (a *assembler) cases(r *rule) int {
	next := a.ret(r.otherwise)
	for i := len(r.cases) - 1; i >= 0; i-- {
		c := &r.cases[i]
		yes := a.ret(c.ret)
		for j := len(c.args) - 1; j >= 0; j-- {
			yes = a.condition(&c.args[j], yes, next)
		}
		next = yes
	}
	return next
}

// condition writes one comparison of a 64-bit argument by its halves.
func (a *assembler) condition(c *specs.LinuxSeccompArg, yes, no int) int {
	low := uint32(dataArgs + 8*c.Index) // both machines are little-endian
	high := low + 4
	hi, lo := uint32(c.Value>>32), uint32(c.Value)
	switch c.Op {
	case specs.OpEqualTo, specs.OpNotEqual:
		if c.Op == specs.OpNotEqual {
			yes, no = no, yes
		}
		a.jump(unix.BPF_JEQ, lo, yes, no)
		second := a.load(low)
		a.jump(unix.BPF_JEQ, hi, second, no)
	case specs.OpMaskedEqual:
		// Value is the mask, ValueTwo what must be left.
		hi2, lo2 := uint32(c.ValueTwo>>32), uint32(c.ValueTwo)
		a.jump(unix.BPF_JEQ, lo2, yes, no)
		a.and(lo)
		second := a.load(low)
		a.jump(unix.BPF_JEQ, hi2, second, no)
		a.and(hi)
	case specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual:
		op := uint16(unix.BPF_JGE)
		if c.Op == specs.OpGreaterThan || c.Op == specs.OpLessEqual {
			op = unix.BPF_JGT
		}
		if c.Op == specs.OpLessThan || c.Op == specs.OpLessEqual {
			yes, no = no, yes
		}
		a.jump(op, lo, yes, no)
		second := a.load(low)
		equal := a.jump(unix.BPF_JEQ, hi, second, no)
		a.jump(unix.BPF_JGT, hi, yes, equal)
	}
	return a.load(high)
}

// finish writes the choice of the block, and turns the program round.
func (a *assembler) finish(abis []abi, blocks []int) ([]unix.SockFilter, error) {
	// A way of calling that the profile does not name is none to fall back on.
	next := a.ret(retKillThread)
	for i := len(abis) - 1; i >= 0; i-- {
		if abis[i].x32 {
			continue
		}
		block := blocks[i]
		if abis[i].audit == unix.AUDIT_ARCH_X86_64 {
			block = a.x32(abis, blocks, i)
		}
		next = a.jump(unix.BPF_JEQ, abis[i].audit, block, next)
	}
	a.load(dataArch)
	n := len(a.code)
	if n > maxFilter {
		return nil, fmt.Errorf("seccomp: profile needs %d instructions, the kernel takes %d", n, maxFilter)
	}
	slices.Reverse(a.code)
	return a.code, nil
}

// x32 writes what tells x32's calls, which are x86_64's by their architecture,
// from the real ones.
func (a *assembler) x32(abis []abi, blocks []int, native int) int {
	other := a.ret(retKillThread)
	for i := range abis {
		if abis[i].x32 {
			other = blocks[i]
		}
	}
	a.jump(unix.BPF_JGE, x32Bit, other, blocks[native])
	return a.load(dataNr)
}

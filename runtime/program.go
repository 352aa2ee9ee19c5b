package runtime

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is one system call of a program. The interpreter (interp_*.s) knows its
// layout by offset.
type step struct {
	nr       uint64
	arg      [6]uint64
	tolerate uint64 // up to eight error numbers that are no failure, one a byte
	next     uint64 // where jumps go; 0 = the following step
	flags    uint64
	text     uint64 // said before the error's own words in a report
	textLen  uint64
}

// Flags of a step.
const (
	anyError     = 1 << iota // no error is a failure
	jumpZero                 // result 0 jumps to next
	jumpPositive             // a positive result jumps to next
	spinning                 // no system call: see spin
)

// head is what the interpreter fills in when a step fails, before it goes on
// at fail; its first fields are the body of the report.
type head struct {
	errno uint64
	iov   [2]struct{ base, len uint64 }
	fail  uint64
}

// The offsets that the assembly has by heart.
var _ = [1]struct{}{}[unsafe.Sizeof(step{})-96]
var _ = [1]struct{}{}[unsafe.Offsetof(head{}.fail)-40]

func interpPC() unsafe.Pointer

//go:noescape
func cloneInto(args *cloneArgs, size, code, first, head uintptr) (pid, errno uintptr)

// cloneArgs is struct clone_args of clone3, as of Linux 5.7.
type cloneArgs struct {
	flags      uint64
	pidfd      uint64
	_, _       uint64 // child_tid, parent_tid
	exitSignal uint64
	_, _, _    uint64 // stack, stack_size, tls
	_, _       uint64 // set_tid, set_tid_size
	cgroup     uint64
}

// Memory of a program: the interpreter's own page, the steps, the data.
const (
	interpSize = 512 // more than the interpreter's length; what follows it is never run
	stepsAt    = 4096
	maxSteps   = 1024
)

// program is a list of system calls for a child that cannot run Go, in memory
// shared with it: the runtime may write the later steps while the child does
// the earlier ones or waits.
type program struct {
	mem    []byte
	base   uint64
	data   int // next free byte of data
	steps  int
	gone   uint64 // the step that ends the process
	text   string // of the last step, and where it is
	textAt uint64
}

// newProgram makes room for a program with about extra bytes of data.
func newProgram(extra int) (*program, error) {
	page := os.Getpagesize()
	size := stepsAt + maxSteps*int(unsafe.Sizeof(step{})) + 64<<10 + extra
	size = (size + page) &^ (page - 1)
	mem, err := unix.Mmap(-1, 0, page+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map program: %w", err)
	}
	// The code page comes first and is made executable; the rest never is.
	copy(mem, unsafe.Slice((*byte)(interpPC()), interpSize))
	if err := unix.Mprotect(mem[:page], unix.PROT_READ|unix.PROT_EXEC); err != nil {
		unix.Munmap(mem)
		return nil, fmt.Errorf("protect program: %w", err)
	}
	p := &program{mem: mem, base: uint64(uintptr(unsafe.Pointer(&mem[0])))}
	p.data = page + stepsAt + maxSteps*int(unsafe.Sizeof(step{}))
	return p, nil
}

func (p *program) close() { unix.Munmap(p.mem) }

func (p *program) head() *head { return (*head)(unsafe.Pointer(&p.mem[os.Getpagesize()])) }

// addr is the address, here and in the child, of offset off.
func (p *program) addr(off int) uint64 { return p.base + uint64(off) }

// alloc reserves n bytes of zeroed data, aligned to 8.
func (p *program) alloc(n int) int {
	off := p.data
	p.data += (n + 7) &^ 7
	if p.data > len(p.mem) {
		panic("runtime: program does not fit its memory")
	}
	return off
}

// bytes puts b into the data and returns its address.
func (p *program) bytes(b []byte) uint64 {
	off := p.alloc(len(b))
	copy(p.mem[off:], b)
	return p.addr(off)
}

// str puts a NUL-terminated string into the data and returns its address.
func (p *program) str(s string) uint64 {
	off := p.alloc(len(s) + 1)
	copy(p.mem[off:], s)
	return p.addr(off)
}

// words puts 64-bit words into the data and returns their address.
func (p *program) words(w ...uint64) uint64 {
	off := p.alloc(8 * len(w))
	for i, v := range w {
		*(*uint64)(unsafe.Pointer(&p.mem[off+8*i])) = v
	}
	return p.addr(off)
}

// load32 reads back a 32-bit word of the data.
func (p *program) load32(addr uint64) uint32 {
	return *(*uint32)(unsafe.Pointer(&p.mem[addr-p.base]))
}

// strs puts a NULL-terminated vector of strings into the data.
func (p *program) strs(list []string) uint64 {
	w := make([]uint64, len(list)+1)
	for i, s := range list {
		w[i] = p.str(s)
	}
	return p.words(w...)
}

// here is the address of the step that is added next.
func (p *program) here() uint64 {
	return p.addr(os.Getpagesize() + stepsAt + p.steps*int(unsafe.Sizeof(step{})))
}

// add appends a step; text is what a failure's report begins with.
func (p *program) add(text string, nr uintptr, args ...uint64) *step {
	if p.steps == maxSteps {
		panic("runtime: program has too many steps")
	}
	s := (*step)(unsafe.Pointer(&p.mem[os.Getpagesize()+stepsAt+p.steps*int(unsafe.Sizeof(step{}))]))
	p.steps++
	if text != p.text || p.textAt == 0 {
		p.text, p.textAt = text, p.str(text)
	}
	*s = step{nr: uint64(nr), text: p.textAt, textLen: uint64(len(text))}
	copy(s.arg[:], args)
	return s
}

// ok lets a step fail with the errors named.
func (s *step) ok(errs ...unix.Errno) *step {
	for i, e := range errs {
		s.tolerate |= uint64(e) << (8 * i)
	}
	return s
}

// msghdr puts a struct msghdr with the vectors at iov and n bytes of control
// data into the data.
func (p *program) msghdr(iov uint64, niov int, control uint64, ncontrol int) uint64 {
	return p.words(0, 0, iov, uint64(niov), control, uint64(ncontrol), 0)
}

// onFailure makes every failing step send its report to the socket and end the
// process. Preconditions: called once, before any other step.
func (p *program) onFailure(sock int) {
	h := p.head()
	h.fail = p.here()
	h.iov[0].base, h.iov[0].len = uint64(uintptr(unsafe.Pointer(&h.errno))), 8
	iov := uint64(uintptr(unsafe.Pointer(&h.iov)))
	p.add("", unix.SYS_SENDMSG, uint64(sock), p.msghdr(iov, 2, 0, 0), unix.MSG_NOSIGNAL).flags = anyError
	p.gone = p.here()
	p.add("", unix.SYS_EXIT_GROUP, 1)
}

// sendFD adds a step that sends a descriptor to the socket.
func (p *program) sendFD(sock, fd int) {
	msg, _ := p.fdMessage(fd)
	p.add("send descriptor", unix.SYS_SENDMSG, uint64(sock), msg, unix.MSG_NOSIGNAL)
}

// fdMessage puts a message that carries a descriptor into the data, and says
// where in it the descriptor's number is.
func (p *program) fdMessage(fd int) (msg, number uint64) {
	ctl := p.words(uint64(unix.CmsgLen(4)), uint64(unix.SOL_SOCKET)|uint64(unix.SCM_RIGHTS)<<32, uint64(fd))
	return p.msghdr(p.words(p.words(0), 8), 1, ctl, unix.CmsgSpace(4)), ctl + 16
}

// cloneAgain adds the steps with which the process sends the pidfd of a clone of
// itself, in new namespaces, to the socket and ends; the clone goes on. It is a
// child of the same parent as the first.
func (p *program) cloneAgain(sock int, namespaces uint64) {
	msg, fd := p.fdMessage(0)
	args := p.words(namespaces|unix.CLONE_PARENT|unix.CLONE_PIDFD, fd, 0, 0, 0, 0, 0, 0, 0, 0, 0) // cloneArgs; the signal is the first's
	again := p.add("clone process", unix.SYS_CLONE3, args, 11*8)
	again.flags = jumpZero
	p.add("send descriptor", unix.SYS_SENDMSG, uint64(sock), msg, unix.MSG_NOSIGNAL)
	p.add("", unix.SYS_EXIT_GROUP, 0)
	again.next = p.here()
}

// recvFDs adds a step that receives n descriptors from the socket. They get
// the lowest numbers that are free: the caller knows which those are. The
// runtime's end gone ends the process.
func (p *program) recvFDs(sock, n int) {
	room := unix.CmsgSpace(4 * n)
	hdr := p.msghdr(p.words(p.words(0), 8), 1, p.addr(p.alloc(room)), room)
	s := p.add("receive descriptors", unix.SYS_RECVMSG, uint64(sock), hdr, unix.MSG_CMSG_CLOEXEC)
	s.flags, s.next = jumpZero, p.gone
}

// recvGo adds a step that waits for the runtime to say so.
func (p *program) recvGo(sock int) {
	s := p.add("wait", unix.SYS_RECVFROM, uint64(sock), p.words(0), 8, 0, 0, 0)
	s.flags, s.next = jumpZero, p.gone
}

// discard adds the steps that give back all memory but the program's own, so
// that a process that waits holds a few pages, none of them Go's.
func (p *program) discard() {
	end := p.base + uint64(len(p.mem))
	low := uint64(os.Getpagesize())
	p.add("unmap", unix.SYS_MUNMAP, low, p.base-low).flags = anyError
	for _, top := range addressSpaceEnds {
		if top > end {
			p.add("unmap", unix.SYS_MUNMAP, end, top-end).flags = anyError
		}
	}
}

// becomeFile adds the step that makes /proc/PID/exe another file, the one that
// fd is open on: from then on the runtime's own binary cannot be reached
// through the process (CVE-2019-5736). The kernel refuses it while anything of
// the old file is mapped, so discard goes before. It needs CAP_SYS_ADMIN or
// CAP_CHECKPOINT_RESTORE in the process's user namespace.
func (p *program) becomeFile(fd int) {
	// struct prctl_mm_map, Linux 3.18. Only exe_fd is meant; the addresses must
	// be the process's, in their order.
	at := p.base
	m := p.words(at, at+1, at, at+1, at+2, at+2, at, at, at, at, at, 0, uint64(uint32(fd))<<32)
	p.add("", unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, m, 13*8, 0).flags = anyError
}

// clone starts a child that runs the program from the address first.
// Preconditions: every signal is blocked on this thread, which is locked.
func (p *program) clone(args *cloneArgs, first uint64) (int, error) {
	pid, errno := cloneInto(args, unsafe.Sizeof(*args), uintptr(p.base), uintptr(first), uintptr(p.addr(os.Getpagesize())))
	if errno != 0 {
		return 0, unix.Errno(errno)
	}
	return int(pid), nil
}

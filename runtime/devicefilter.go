package runtime

import (
	"fmt"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The rules of linux.resources.devices become a program that the kernel runs at
// every mknod and open of a device by a process of the cgroup
// (BPF_PROG_TYPE_CGROUP_DEVICE). It is assembled here: a dozen instructions are
// no reason for a library of eBPF. In a unit of berth systemd does the same
// (DeviceAllow=), and the configuration has no rules.

// Bits of a request: struct bpf_cgroup_dev_ctx.
const (
	devBlock = 1 // BPF_DEVCG_DEV_BLOCK
	devChar  = 2 // BPF_DEVCG_DEV_CHAR
	accMknod = 1 // BPF_DEVCG_ACC_MKNOD
	accRead  = 2
	accWrite = 4
	accAll   = accMknod | accRead | accWrite
)

// deviceRule is a rule in the kernel's terms.
type deviceRule struct {
	allow        bool
	kind         int32 // devBlock, devChar, 0 = both
	major, minor int32 // -1 = all
	access       int32
}

// everyDevice says that the rule is about all devices and all uses of them.
func (r *deviceRule) everyDevice() bool {
	return r.kind == 0 && r.major < 0 && r.minor < 0 && r.access == accAll
}

// deviceRules are the configuration's rules and those that every container
// gets: to make nodes, which is no access to the device, and to use the default
// devices and terminals (runtime-spec, "Default Devices"; runc's and crun's
// list). They come last, so they hold whatever the configuration says.
func deviceRules(list []specs.LinuxDeviceCgroup) ([]deviceRule, error) {
	rules := make([]deviceRule, 0, len(list)+12)
	for i := range list {
		r, err := newDeviceRule(&list[i])
		if err != nil {
			return nil, fmt.Errorf("linux.resources.devices[%d]: %w", i, err)
		}
		rules = append(rules, r)
	}
	rules = append(rules,
		deviceRule{true, devChar, -1, -1, accMknod},
		deviceRule{true, devBlock, -1, -1, accMknod},
		deviceRule{true, devChar, 136, -1, accAll}, // /dev/pts/*
		deviceRule{true, devChar, 5, 2, accAll})    // /dev/ptmx
	for i := range defaultDevices {
		d := &defaultDevices[i]
		rules = append(rules, deviceRule{true, devChar, int32(d.Major), int32(d.Minor), accAll})
	}
	return rules, nil
}

func newDeviceRule(d *specs.LinuxDeviceCgroup) (deviceRule, error) {
	r := deviceRule{allow: d.Allow, major: -1, minor: -1}
	switch d.Type {
	case "", "a":
	case "b":
		r.kind = devBlock
	case "c", "u":
		r.kind = devChar
	default:
		return r, fmt.Errorf("unknown type %q", d.Type)
	}
	for _, n := range []struct {
		from *int64
		to   *int32
	}{{d.Major, &r.major}, {d.Minor, &r.minor}} {
		if n.from == nil || *n.from < 0 {
			continue
		}
		if *n.from > 1<<31-1 {
			return r, fmt.Errorf("%d is not a device number", *n.from)
		}
		*n.to = int32(*n.from)
	}
	for _, a := range []byte(d.Access) {
		switch a {
		case 'r':
			r.access |= accRead
		case 'w':
			r.access |= accWrite
		case 'm':
			r.access |= accMknod
		default:
			return r, fmt.Errorf("access %q: must be of r, w and m", d.Access)
		}
	}
	if d.Access == "" {
		r.access = accAll
	}
	return r, nil
}

// bpfInsn is struct bpf_insn.
type bpfInsn struct {
	code uint8
	regs uint8 // destination, source << 4
	off  int16
	imm  int32
}

// Registers of the program: the context, then what is taken out of it.
const (
	regResult = iota
	regContext
	regKind
	regAccess // what of the request is not allowed yet
	regMajor
	regMinor
	regScratch
)

// deviceProgram compiles rules. The last rule about a device counts; so the
// program goes through them from the last to the first, each allowing takes
// what it allows off the request, and each denying ends it if something of what
// it denies is left. What no rule is about is denied.
func deviceProgram(rules []deviceRule) []bpfInsn {
	p := []bpfInsn{
		{unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM, regKind | regContext<<4, 0, 0},
		{unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, regAccess | regKind<<4, 0, 0},
		{unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, regKind, 0, 0xffff},
		{unix.BPF_ALU64 | unix.BPF_RSH | unix.BPF_K, regAccess, 0, 16},
		{unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM, regMajor | regContext<<4, 4, 0},
		{unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM, regMinor | regContext<<4, 8, 0},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		r := &rules[i]
		p = r.compile(p)
		if r.everyDevice() {
			return p // the kernel refuses programs with a part that is never reached
		}
	}
	return append(p, verdict(false)...)
}

// compile adds the instructions of one rule.
func (r *deviceRule) compile(p []bpfInsn) []bpfInsn {
	start := len(p)
	skip := func(op uint8, reg uint8, imm int32) {
		p = append(p, bpfInsn{unix.BPF_JMP | op | unix.BPF_K, reg, 0, imm}) // off is set below
	}
	if r.kind != 0 {
		skip(unix.BPF_JNE, regKind, r.kind)
	}
	if r.major >= 0 {
		skip(unix.BPF_JNE, regMajor, r.major)
	}
	if r.minor >= 0 {
		skip(unix.BPF_JNE, regMinor, r.minor)
	}
	if r.access != accAll {
		if r.allow {
			p = append(p, bpfInsn{unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K, regAccess, 0, accAll &^ r.access})
			skip(unix.BPF_JNE, regAccess, 0)
		} else {
			p = append(p, bpfInsn{unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, regScratch | regAccess<<4, 0, 0},
				bpfInsn{unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K, regScratch, 0, r.access})
			skip(unix.BPF_JEQ, regScratch, 0)
		}
	}
	p = append(p, verdict(r.allow)...)
	for i := start; i < len(p); i++ {
		if p[i].code&7 == unix.BPF_JMP && p[i].code != unix.BPF_JMP|unix.BPF_EXIT {
			p[i].off = int16(len(p) - i - 1)
		}
	}
	return p
}

func verdict(allow bool) []bpfInsn {
	v := int32(0)
	if allow {
		v = 1
	}
	return []bpfInsn{{unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K, regResult, 0, v}, {unix.BPF_JMP | unix.BPF_EXIT, 0, 0, 0}}
}

// deviceProgramName tells our program from others at a cgroup, which systemd
// may have given it one too: a device must please them all.
var deviceProgramName = [16]byte{'b', 'e', 'r', 't', 'h', '_', 'd', 'e', 'v', 'i', 'c', 'e', 's'}

// allowDevices makes the rules hold in the cgroup, in the place of those that
// it has from an earlier call, in one step.
func (c cgroup) allowDevices(list []specs.LinuxDeviceCgroup) error {
	if len(list) == 0 {
		return nil
	}
	rules, err := deviceRules(list)
	if err != nil {
		return err
	}
	dir, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup %s: %w", c.dir, err)
	}
	defer unix.Close(dir)
	old, err := attachedDeviceProgram(dir)
	if err != nil {
		return skipInUserNamespace(fmt.Errorf("look for device rules of %s: %w", c.dir, err), err)
	}
	if old >= 0 {
		defer unix.Close(old)
	} else if allowsAll(rules) {
		return nil // as it is without a program
	}
	prog, err := loadDeviceProgram(deviceProgram(rules))
	if err != nil {
		return skipInUserNamespace(fmt.Errorf("load device rules: %w", err), err)
	}
	defer unix.Close(prog)
	attr := bpfAttach{target: uint32(dir), prog: uint32(prog), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI}
	if old >= 0 {
		attr.flags |= unix.BPF_F_REPLACE // Linux 5.6
		attr.replace = uint32(old)
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return skipInUserNamespace(fmt.Errorf("attach device rules to %s: %w", c.dir, err), err)
	}
	return nil
}

// allowsAll says that the rules forbid nothing.
func allowsAll(rules []deviceRule) bool {
	all := false
	for i := range rules {
		switch r := &rules[i]; {
		case r.everyDevice():
			all = r.allow
		case !r.allow:
			all = false
		}
	}
	return all
}

// skipInUserNamespace passes over that the caller may not load programs where
// it could not use a device by itself either: the kernel lets nobody of a user
// namespace but the first make device nodes.
func skipInUserNamespace(err, cause error) error {
	if cause != unix.EPERM {
		return err
	}
	b, readErr := readFile("/proc/self/uid_map")
	var inside, outside, n uint64
	if _, scanErr := fmt.Sscan(string(b), &inside, &outside, &n); readErr == nil && scanErr == nil && n != 1<<32-1 {
		return nil
	}
	return err
}

// Parts of union bpf_attr, by command.
type (
	bpfLoad struct {
		kind, count    uint32
		insns, license unsafe.Pointer // 64 bits on the machines of this package
		logLevel       uint32
		logSize        uint32
		log            unsafe.Pointer
		kernel, flags  uint32
		name           [16]byte
		ifindex        uint32
		attachType     uint32
	}
	bpfAttach struct {
		target, prog, kind, flags, replace uint32
	}
	bpfQuery struct {
		target, kind, flags, attachFlags uint32
		ids                              unsafe.Pointer
		count, _                         uint32
	}
	bpfByID struct {
		id, next, flags uint32
	}
	bpfInfo struct {
		fd, size uint32
		info     unsafe.Pointer
	}
	// progInfo is the beginning of struct bpf_prog_info.
	progInfo struct {
		kind, id   uint32
		tag        [8]byte
		jited      uint32
		xlated     uint32
		jitedInsns uint64
		xlatedInsn uint64
		loadTime   uint64
		uid        uint32
		maps       uint32
		mapIDs     uint64
		name       [16]byte
	}
)

func bpf(cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		fd, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR, unix.EAGAIN: // the verifier was interrupted
		default:
			return -1, errno
		}
	}
}

func loadDeviceProgram(insns []bpfInsn) (int, error) {
	license := []byte("Apache-2.0\x00")
	attr := bpfLoad{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(insns)),
		insns: unsafe.Pointer(&insns[0]), license: unsafe.Pointer(&license[0]),
		name: deviceProgramName, attachType: unix.BPF_CGROUP_DEVICE,
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

// attachedDeviceProgram opens the program of ours that the cgroup has, -1 if it
// has none.
func attachedDeviceProgram(dir int) (int, error) {
	var ids [64]uint32 // the kernel's limit, BPF_CGROUP_MAX_PROGS
	query := bpfQuery{target: uint32(dir), kind: unix.BPF_CGROUP_DEVICE, ids: unsafe.Pointer(&ids), count: uint32(len(ids))}
	_, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query))
	if err != nil {
		return -1, err
	}
	for _, id := range ids[:min(int(query.count), len(ids))] {
		byID := bpfByID{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&byID), unsafe.Sizeof(byID))
		if err == unix.ENOENT {
			continue // it is gone
		}
		if err != nil {
			return -1, err
		}
		if programName(fd) == deviceProgramName {
			return fd, nil
		}
		unix.Close(fd)
	}
	return -1, nil
}

func programName(fd int) [16]byte {
	var info progInfo
	attr := bpfInfo{fd: uint32(fd), size: uint32(unsafe.Sizeof(info)), info: unsafe.Pointer(&info)}
	_, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return [16]byte{}
	}
	return info.name
}

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// runDevice interprets a device program: what the kernel would say to a request.
func runDevice(t *testing.T, p []bpfInsn, kind, access, major, minor int64) bool {
	t.Helper()
	var reg [8]int64
	for pc, steps := 0, 0; ; pc, steps = pc+1, steps+1 {
		if pc >= len(p) || steps > 10000 {
			t.Fatalf("program runs away: %v", p)
		}
		in := p[pc]
		dst, src := in.regs&15, in.regs>>4
		imm := int64(in.imm)
		switch in.code {
		case unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM:
			reg[dst] = map[int16]int64{0: access<<16 | kind, 4: major, 8: minor}[in.off]
		case unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X:
			reg[dst] = reg[src]
		case unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K:
			reg[dst] = imm
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			reg[dst] = int64(uint32(reg[dst]) & uint32(imm))
		case unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K:
			reg[dst] &= imm
		case unix.BPF_ALU64 | unix.BPF_RSH | unix.BPF_K:
			reg[dst] = int64(uint64(reg[dst]) >> uint(imm))
		case unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K:
			if reg[dst] != imm {
				pc += int(in.off)
			}
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if reg[dst] == imm {
				pc += int(in.off)
			}
		case unix.BPF_JMP | unix.BPF_EXIT:
			return reg[regResult] == 1
		default:
			t.Fatalf("unknown instruction %#x", in.code)
		}
	}
}

func num(n int64) *int64 { return &n }

func TestDeviceProgram(t *testing.T) {
	dev := func(allow bool, typ string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		d := specs.LinuxDeviceCgroup{Allow: allow, Type: typ, Access: access}
		if major >= 0 {
			d.Major = num(major)
		}
		if minor >= 0 {
			d.Minor = num(minor)
		}
		return d
	}
	none := dev(false, "", -1, -1, "rwm")
	for _, c := range []struct {
		name  string
		rules []specs.LinuxDeviceCgroup
		// requests: type, major:minor, access
		allowed, denied string
	}{
		{"nothing but the defaults", []specs.LinuxDeviceCgroup{none},
			"c1:3rw c1:5r c1:7w c1:8r c1:9r c5:0rw c5:2rw c136:7rw c10:200m b8:0m", "b8:0r c10:200rw c5:1r c4:0w c1:1r"},
		{"no rule at all is a denial", []specs.LinuxDeviceCgroup{dev(true, "c", 10, 200, "rw")}, "c10:200rw c10:200r", "c10:201r b10:200r"},
		{"all", []specs.LinuxDeviceCgroup{none, dev(true, "a", -1, -1, "rwm")}, "b8:0rwm c10:200rw", ""},
		{"all but one", []specs.LinuxDeviceCgroup{dev(true, "", -1, -1, "rwm"), dev(false, "b", 8, 0, "w")}, "b8:0r b8:1rw b8:0m", "b8:0w b8:0rw"},
		{"a group", []specs.LinuxDeviceCgroup{none, dev(true, "b", 8, -1, "r")}, "b8:0r b8:15r", "b8:0rw b9:0r c8:0r"},
		{"rights of two rules add up", []specs.LinuxDeviceCgroup{none, dev(true, "c", 10, 229, "r"), dev(true, "c", 10, 229, "w")}, "c10:229rw", "c10:230rw"},
		{"the last one counts", []specs.LinuxDeviceCgroup{none, dev(true, "c", 10, 229, "rw"), dev(false, "c", 10, 229, "w")}, "c10:229r", "c10:229w c10:229rw"},
		{"a late denial of all", []specs.LinuxDeviceCgroup{dev(true, "c", 10, 229, "rw"), none}, "c1:3rw", "c10:229r"},
		{"every minor of any major", []specs.LinuxDeviceCgroup{none, dev(true, "c", -1, 1, "r")}, "c10:1r c5:1r", "c10:2r b10:1r"},
	} {
		rules, err := deviceRules(c.rules)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		p := deviceProgram(rules)
		for _, list := range []struct {
			requests string
			want     bool
		}{{c.allowed, true}, {c.denied, false}} {
			for req := range strings.FieldsSeq(list.requests) {
				var major, minor int64
				var access string
				if _, err := fmt.Sscanf(req[1:], "%d:%d%s", &major, &minor, &access); err != nil {
					t.Fatalf("%s: %v", req, err)
				}
				kind, bits := int64(devChar), int64(0)
				if req[0] == 'b' {
					kind = devBlock
				}
				for _, a := range access {
					bits |= map[rune]int64{'r': accRead, 'w': accWrite, 'm': accMknod}[a]
				}
				if got := runDevice(t, p, kind, bits, major, minor); got != list.want {
					t.Errorf("%s: %s: got %v", c.name, req, got)
				}
			}
		}
	}
}

func TestDeviceRuleRefused(t *testing.T) {
	for _, d := range []specs.LinuxDeviceCgroup{
		{Type: "x", Access: "rwm"}, {Type: "c", Access: "rwx"}, {Type: "c", Major: num(1 << 40), Access: "r"},
	} {
		if _, err := deviceRules([]specs.LinuxDeviceCgroup{d}); err == nil {
			t.Errorf("%+v: accepted", d)
		}
	}
}

// ownCgroupFor makes a cgroup for a test that runs below /sys/fs/cgroup.
func ownCgroupFor(t *testing.T) cgroup {
	t.Helper()
	if os.Getenv(insideEnv) == "" {
		t.Skip("needs root")
	}
	c := cgroup{filepath.Join("/sys/fs/cgroup", t.Name())}
	if _, err := c.create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Rmdir(c.dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

func programsOf(t *testing.T, c cgroup) int {
	t.Helper()
	dir, err := os.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	fd, err := attachedDeviceProgram(int(dir.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if fd < 0 {
		return 0
	}
	unix.Close(fd)
	return 1
}

// TestDeviceProgramLoads has the kernel verify programs of all shapes, and
// replace one.
func TestDeviceProgramLoads(t *testing.T) {
	c := ownCgroupFor(t)
	deny := specs.LinuxDeviceCgroup{Access: "rwm"}
	all := specs.LinuxDeviceCgroup{Allow: true, Access: "rwm"}
	skipWithoutBPF(t, c.allowDevices([]specs.LinuxDeviceCgroup{all}))
	if n := programsOf(t, c); n != 0 {
		t.Errorf("a program that allows all was attached")
	}
	many := []specs.LinuxDeviceCgroup{deny}
	for i := range int64(500) {
		many = append(many, specs.LinuxDeviceCgroup{Allow: i%3 != 0, Type: []string{"b", "c", "a"}[i%3], Major: num(i), Minor: num(i % 7), Access: []string{"r", "rw", "rwm"}[i%3]})
	}
	for _, list := range [][]specs.LinuxDeviceCgroup{{deny}, {deny, {Allow: true, Type: "c", Major: num(10), Minor: num(200), Access: "rw"}}, many,
		{all, {Type: "b", Access: "w"}}, {{Allow: true, Type: "c", Access: "m"}}, {all}} {
		if err := c.allowDevices(list); err != nil {
			t.Fatalf("%d rules: %v", len(list), err)
		}
		if n := programsOf(t, c); n != 1 {
			t.Errorf("%d programs", n)
		}
	}
}

func skipWithoutBPF(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		t.Skipf("needs bpf(2) with cgroup programs: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAllowDevices(b *testing.B) {
	if os.Getenv(insideEnv) == "" {
		b.Skip("needs root")
	}
	c := cgroup{"/sys/fs/cgroup/bench-devices"}
	start := time.Now()
	for range b.N {
		if err := os.Mkdir(c.dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := c.allowDevices([]specs.LinuxDeviceCgroup{{Access: "rwm"}}); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(c.dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/float64(b.N), "us/op")
}

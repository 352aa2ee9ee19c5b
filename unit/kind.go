package unit

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// A value is a setting that was asked for: what goes over the bus, and the
// assignments that say the same in a unit file.
type value struct {
	bus   any
	lines func() []string // right-hand sides; Listen* gives whole lines
}

// A kind knows how one sort of field is read. It returns nil where the field
// asks for nothing.
type kind struct {
	sig string // D-Bus signature
	get func(*Spec) (*value, error)
}

// scalar makes a kind of a field that is set when it is not zero.
func scalar[T comparable](sig string, at func(*Spec) *T, bus func(T) (any, error), line func(T) string) kind {
	return kind{sig, func(s *Spec) (*value, error) {
		v := *at(s)
		var zero T
		if v == zero {
			return nil, nil
		}
		b, err := bus(v)
		if err != nil {
			return nil, err
		}
		return &value{b, func() []string { return []string{line(v)} }}, nil
	}}
}

// pointer makes a kind of a field that is set when it is not nil.
func pointer[T any](sig string, at func(*Spec) **T, bus func(T) any, line func(T) string) kind {
	return kind{sig, func(s *Spec) (*value, error) {
		p := *at(s)
		if p == nil {
			return nil, nil
		}
		v := *p
		return &value{bus(v), func() []string { return []string{line(v)} }}, nil
	}}
}

// sequence makes a kind of a list, whose elements are one line each.
func sequence[T any](sig string, at func(*Spec) *[]T, bus func([]T) any, line func(T) string) kind {
	return kind{sig, func(s *Spec) (*value, error) {
		v := *at(s)
		if len(v) == 0 {
			return nil, nil
		}
		return &value{bus(v), func() []string {
			lines := make([]string, len(v))
			for i := range v {
				lines[i] = line(v[i])
			}
			return lines
		}}, nil
	}}
}

func same[T any](v T) any { return v }

func ok[T, U any](f func(T) U) func(T) (any, error) {
	return func(v T) (any, error) { return f(v), nil }
}

func text(at func(*Spec) *string) kind {
	return scalar("s", at, ok(same[string]), specifiers)
}

func flag(at func(*Spec) *bool) kind {
	return scalar("b", at, ok(same[bool]), yesNo)
}

func number(at func(*Spec) *uint32) kind {
	return scalar("u", at, ok(same[uint32]), func(v uint32) string { return strconv.FormatUint(uint64(v), 10) })
}

func mode(at func(*Spec) *uint32) kind {
	return scalar("u", at, ok(same[uint32]), octal)
}

func optMode(at func(*Spec) **uint32) kind { return pointer("u", at, same[uint32], octal) }

func signal(at func(*Spec) *int) kind {
	return scalar("i", at, ok(func(v int) any { return int32(v) }), strconv.Itoa)
}

// option is a number or truth value where zero is a setting.
func option[T bool | int32 | uint32](at func(*Spec) **T) kind {
	return pointer(dbus.SignatureOf(*new(T)).String(), at, same[T], func(v T) string {
		if b, ok := any(v).(bool); ok {
			return yesNo(b)
		}
		return fmt.Sprint(v)
	})
}

func limit(at func(*Spec) *uint64) kind {
	return scalar("t", at, ok(same[uint64]), unlimited)
}

func optLimit(at func(*Spec) **uint64) kind { return pointer("t", at, same[uint64], unlimited) }

func span(at func(*Spec) *time.Duration) kind {
	return scalar("t", at, ok(usec), usecText)
}

func optTime(at func(*Spec) **time.Duration) kind {
	return pointer("t", at, usec, usecText)
}

// usec is a time in systemd's unit; whatever is not zero is at least one.
func usec(d time.Duration) any {
	switch {
	case d == Forever:
		return uint64(math.MaxUint64)
	case d <= 0:
		return uint64(0)
	}
	return uint64((d + time.Microsecond - 1) / time.Microsecond)
}

func usecText(d time.Duration) string {
	if v := usec(d).(uint64); v != math.MaxUint64 {
		return strconv.FormatUint(v, 10) + "us"
	}
	return "infinity"
}

// quota is CPUQuotaPerSecUSec: CPU time per second of real time. In a unit file
// it is a percentage, of hundredths at the finest.
func quota(at func(*Spec) *float64) kind {
	return scalar("t", at, func(cpus float64) (any, error) {
		if math.IsInf(cpus, 1) {
			return uint64(math.MaxUint64), nil
		}
		v := math.Round(cpus * 1e6)
		if !(v >= 1 && v < 1e15) {
			return nil, fmt.Errorf("%v CPUs is not a quota", cpus)
		}
		return uint64(v), nil
	}, func(cpus float64) string {
		if math.IsInf(cpus, 1) {
			return ""
		}
		return strconv.FormatFloat(math.Max(math.Round(cpus*1e4)/100, 0.01), 'f', -1, 64) + "%"
	})
}

// maxCPU bounds a CPU or node number, as the kernel's largest configuration
// does.
const maxCPU = 8191

// bitmap is a list of numbers as the kernel writes it: "0-3,5".
func bitmap(at func(*Spec) *string) kind {
	return scalar("ay", at, func(s string) (any, error) { return parseBitmap(s) }, func(s string) string { return s })
}

func parseBitmap(s string) ([]byte, error) {
	var set []byte
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		from, err1 := strconv.ParseUint(lo, 10, 16)
		to, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || from > to || to > maxCPU {
			return nil, fmt.Errorf("bad list of numbers %q", s)
		}
		for len(set) <= int(to/8) {
			set = append(set, 0)
		}
		for n := from; n <= to; n++ {
			set[n/8] |= 1 << (n % 8)
		}
	}
	return set, nil
}

// list is names, which can have no blanks in them.
func list(at func(*Spec) *[]string) kind {
	return sequence("as", at, same[[]string], specifiers)
}

// quoted is free text, one word each.
func quoted(at func(*Spec) *[]string) kind {
	return sequence("as", at, same[[]string], func(v string) string { return quote(specifiers(v)) })
}

func byteStrings(at func(*Spec) *[]string) kind {
	return sequence("aay", at, func(v []string) any {
		b := make([][]byte, len(v))
		for i := range v {
			b[i] = []byte(v[i])
		}
		return b
	}, func(v string) string { return quote(specifiers(v)) })
}

type deviceLimit struct {
	Path  string
	Limit uint64
}

func deviceLimits(at func(*Spec) *[]DeviceLimit) kind {
	return sequence("a(st)", at, func(v []DeviceLimit) any {
		b := make([]deviceLimit, len(v))
		for i := range v {
			b[i] = deviceLimit(v[i])
		}
		return b
	}, func(v DeviceLimit) string { return quote(specifiers(v.Path)) + " " + unlimited(v.Limit) })
}

func devices(at func(*Spec) *[]Device) kind {
	return sequence("a(ss)", at, same[[]Device], func(v Device) string {
		return strings.TrimSpace(quote(specifiers(v.Path)) + " " + v.Access)
	})
}

// listens is the one setting whose key is part of the value.
func listens(at func(*Spec) *[]Listen) kind {
	return sequence("a(ss)", at, same[[]Listen], func(v Listen) string {
		return "Listen" + v.Type + "=" + specifiers(v.Address)
	})
}

// Flags of OpenFile= on the bus.
const (
	openReadOnly = 1 << 0
	openGraceful = 1 << 3
)

type openFile struct {
	Path, Name string
	Flags      uint64
}

func openFiles(at func(*Spec) *[]OpenFile) kind {
	return sequence("a(sst)", at, func(v []OpenFile) any {
		b := make([]openFile, len(v))
		for i, f := range v {
			b[i] = openFile{Path: f.Path, Name: f.Name}
			if f.ReadOnly {
				b[i].Flags |= openReadOnly
			}
			if f.Graceful {
				b[i].Flags |= openGraceful
			}
		}
		return b
	}, func(f OpenFile) string {
		var opts []string
		if f.ReadOnly {
			opts = append(opts, "read-only")
		}
		if f.Graceful {
			opts = append(opts, "graceful")
		}
		esc := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		return strings.TrimRight(specifiers(esc.Replace(f.Path)+":"+esc.Replace(f.Name)+":"+strings.Join(opts, ",")), ":")
	})
}

type exitStatusWire struct {
	Status []int32
	Signal []int32
}

func exitStatus(at func(*Spec) **ExitStatus) kind {
	return pointer("(aiai)", at, func(v ExitStatus) any { return exitStatusWire(v) }, func(v ExitStatus) string {
		var words []string
		for _, n := range v.Status {
			words = append(words, strconv.Itoa(int(n)))
		}
		for _, n := range v.Signal {
			words = append(words, signalName(n))
		}
		return strings.Join(words, " ")
	})
}

func pids(at func(*Spec) *[]uint32) kind {
	return sequence("au", at, same[[]uint32], func(v uint32) string { return "" })
}

// levels are the priorities of syslog(3), by their numbers.
var levels = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// level is a number on the bus and a name in a file.
func level(at func(*Spec) *string) kind {
	return scalar("i", at, func(v string) (any, error) {
		n := slices.Index(levels, v)
		if n < 0 {
			return nil, fmt.Errorf("unknown log level %q", v)
		}
		return int32(n), nil
	}, func(v string) string { return v })
}

// protocol is a number on the bus and a name in a file.
func protocol(at func(*Spec) *string) kind {
	return scalar("i", at, func(v string) (any, error) {
		n, ok := map[string]int32{"udplite": 136, "sctp": 132, "mptcp": 262}[v]
		if !ok {
			return nil, fmt.Errorf("unknown socket protocol %q", v)
		}
		return n, nil
	}, func(v string) string { return v })
}

type condition struct {
	Type            string
	Trigger, Negate bool
	Parameter       string
}

// conditions are of one type, each of which must hold.
func conditions(name string, at func(*Spec) *[]string) kind {
	return sequence("a(sbbs)", at, func(v []string) any {
		b := make([]condition, len(v))
		for i := range v {
			b[i] = condition{Type: name, Parameter: v[i]}
		}
		return b
	}, specifiers)
}

// file is a descriptor that goes with the message.
func file(at func(*Spec) **os.File) kind {
	return kind{"h", func(s *Spec) (*value, error) {
		f := *at(s)
		if f == nil {
			return nil, nil
		}
		return &value{bus: f}, nil
	}}
}

type command struct {
	Path          string
	Argv          []string
	IgnoreFailure bool
}

// commands have no flags that could switch the expansion of $NAME off, so '$'
// is doubled. The properties that have such flags (ExecStartEx and the like)
// are written into a transient unit's file by a name that systemd 252 cannot
// read back after a daemon-reload.
func commands(at func(*Spec) *[]Command) kind {
	dollars := func(s string) string { return strings.ReplaceAll(s, "$", "$$") }
	return sequence("a(sasb)", at, func(v []Command) any {
		b := make([]command, len(v))
		for i, c := range v {
			b[i] = command{c.path(), make([]string, len(c.Argv)), c.IgnoreFailure}
			for j, a := range c.Argv {
				b[i].Argv[j] = dollars(a)
			}
		}
		return b
	}, func(c Command) string {
		return c.line(func(s string) string { return specifiers(dollars(s)) })
	})
}

func (c *Command) path() string {
	if c.Path == "" && len(c.Argv) > 0 {
		return c.Argv[0]
	}
	return c.Path
}

// line is the command as a unit file has it.
func (c *Command) line(escape func(string) string) string {
	prefix := ""
	if c.IgnoreFailure {
		prefix = "-"
	}
	words := []string{specifiers(c.path())}
	argv := c.Argv
	if len(argv) > 0 {
		if argv[0] != c.path() {
			prefix += "@"
			words = append(words, quote(escape(argv[0])))
		}
		argv = argv[1:]
	}
	for _, a := range argv {
		words = append(words, quote(escape(a)))
	}
	return prefix + quote(words[0]) + strings.TrimSuffix(" "+strings.Join(words[1:], " "), " ")
}

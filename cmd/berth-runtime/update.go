package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// limits are the flags of update, and the resources that they make.
type limits struct {
	file string
	r    specs.LinuxResources
	rdt  bool
}

func (l *limits) flags(f *flagSet) {
	l.r = specs.LinuxResources{Memory: &specs.LinuxMemory{}, CPU: &specs.LinuxCPU{}, BlockIO: &specs.LinuxBlockIO{}, Pids: &specs.LinuxPids{}}
	f.str(&l.file, "resources", "r")
	f.fn(func(v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		weight := uint16(n)
		l.r.BlockIO.Weight = &weight
		return err
	}, "blkio-weight")
	unsigned := func(name string, to **uint64) {
		f.fn(func(v string) error {
			n, err := strconv.ParseUint(v, 10, 64)
			*to = &n
			return err
		}, name)
	}
	signed := func(name string, to **int64) {
		f.fn(func(v string) error {
			n, err := strconv.ParseInt(v, 10, 64)
			*to = &n
			return err
		}, name)
	}
	bytes := func(name string, to **int64) {
		f.fn(func(v string) error {
			n, err := parseBytes(v)
			*to = &n
			return err
		}, name)
	}
	cpu, memory := l.r.CPU, l.r.Memory
	unsigned("cpu-period", &cpu.Period)
	signed("cpu-quota", &cpu.Quota)
	unsigned("cpu-burst", &cpu.Burst)
	unsigned("cpu-share", &cpu.Shares)
	unsigned("cpu-rt-period", &cpu.RealtimePeriod)
	signed("cpu-rt-runtime", &cpu.RealtimeRuntime)
	signed("cpu-idle", &cpu.Idle)
	f.str(&cpu.Cpus, "cpuset-cpus")
	f.str(&cpu.Mems, "cpuset-mems")
	bytes("memory", &memory.Limit)
	bytes("memory-reservation", &memory.Reservation)
	bytes("memory-swap", &memory.Swap)
	bytes("kernel-memory", new(*int64)) // as runc: taken, and of no effect
	bytes("kernel-memory-tcp", new(*int64))
	signed("pids-limit", &l.r.Pids.Limit)
	for _, name := range []string{"l3-cache-schema", "mem-bw-schema"} {
		f.fn(func(string) error { l.rdt = true; return nil }, name)
	}
}

// resources are those of the file, or else of the flags.
func (l *limits) resources(stdin io.Reader) (*specs.LinuxResources, error) {
	if l.rdt {
		return nil, &runtime.UnsupportedError{Feature: "update of Intel RDT"}
	}
	if l.file == "" {
		return &l.r, nil
	}
	in := stdin
	if l.file != "-" {
		file, err := os.Open(l.file)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	var r specs.LinuxResources
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, fmt.Errorf("parse resources: %w", err)
	}
	return &r, nil
}

func update(ctx context.Context, g *global, args []string) error {
	var l limits
	f := newFlags()
	l.flags(f)
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	c, err := runtime.Open(g.root, id)
	if err != nil {
		return err
	}
	if c.Unit() != "" && !whole {
		return becomeWhole() // before stdin is read
	}
	r, err := l.resources(os.Stdin)
	if err != nil {
		return err
	}
	if c.Unit() != "" {
		if err := updateUnit(ctx, c, r); err != nil {
			return err
		}
	}
	return c.Update(r)
}

// parseBytes reads a size as Docker's flags have it: 512, 64m, 1.5GiB, -1.
func parseBytes(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.ToLower(strings.TrimSpace(s[len(number):]))
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n < 0 || strings.ContainsAny(number, "xXpP_ +") {
		return 0, fmt.Errorf("invalid size: %q", s)
	}
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	if unit != "" {
		power := strings.Index("kmgtp", unit)
		if power < 0 || len(unit) != 1 {
			return 0, fmt.Errorf("invalid suffix: %q", s)
		}
		n *= math.Pow(1024, float64(power+1))
	}
	if !(n < math.MaxInt64) {
		return 0, errors.New("size is too large: " + strconv.Quote(s))
	}
	return int64(n), nil
}

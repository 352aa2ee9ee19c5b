//go:build !lean

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/internal/cpushares"
	"github.com/berthrun/berth/runtime"
	"github.com/berthrun/berth/unit"
)

// unitTimeout bounds the wait for systemd.
const unitTimeout = 30 * time.Second

// placeBySystemd has systemd make the container's cgroup, a scope with the
// limits as its properties. What systemd has no property for is written to the
// scope's cgroup, which is delegated, by the runtime. So are the rules for
// devices, as one program and not two: DeviceAllow= of the scope stays empty.
func placeBySystemd(opt *runtime.CreateOptions) error {
	if inOwnUnit() {
		opt.Delegated = true
		return nil
	}
	opt.Place = func(id string, s *specs.Spec, pid int) (runtime.Place, error) {
		ctx, cancel := context.WithTimeout(context.Background(), unitTimeout)
		defer cancel()
		scope, err := scopeOf(id, s)
		if err != nil {
			return runtime.Place{}, err
		}
		scope.Scope.PIDs = []uint32{uint32(pid)}
		if err := startScope(ctx, scope); err != nil {
			return runtime.Place{}, err
		}
		dir, err := runtime.CgroupOf(pid)
		if err != nil {
			return runtime.Place{}, err
		}
		if !strings.HasSuffix(dir, "/"+scope.Name) {
			return runtime.Place{}, fmt.Errorf("start unit %s: container's init is in %s", scope.Name, dir)
		}
		return runtime.Place{Unit: scope.Name, Cgroup: dir}, nil
	}
	return nil
}

// startScope starts the scope, in the place of one of this name that has failed.
func startScope(ctx context.Context, scope *unit.Spec) error {
	c, err := unit.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	job, err := c.StartTransient(ctx, scope)
	if errors.Is(err, unit.ErrExists) {
		if e := c.ResetFailed(ctx, scope.Name); e != nil {
			return e
		}
		job, err = c.StartTransient(ctx, scope)
	}
	if err != nil {
		return err
	}
	return job.Wait(ctx)
}

func stopUnit(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	c, err := unit.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	job, err := c.Stop(ctx, name)
	if err == nil {
		err = job.Wait(ctx)
	}
	if err != nil && !errors.Is(err, unit.ErrNotExist) {
		return err
	}
	return c.ResetFailed(ctx, name)
}

// updateUnit changes the limits that systemd knows: else it would put the old
// ones back the next time that it looks.
func updateUnit(ctx context.Context, ctr *runtime.Container, r *specs.LinuxResources) error {
	r, err := ctr.Completed(r)
	if err != nil {
		return err
	}
	s := &unit.Spec{Name: ctr.Unit()}
	if err := limitScope(s, r); err != nil {
		return err
	}
	props, err := unit.PropertiesOf(s)
	if err != nil || len(props) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	c, err := unit.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SetProperties(ctx, ctr.Unit(), true, props...)
}

// scopeOf describes the scope of a container.
func scopeOf(id string, s *specs.Spec) (*unit.Spec, error) {
	slice, name, err := scopeName(id, s.Linux.CgroupsPath, os.Geteuid() == 0)
	if err != nil {
		return nil, err
	}
	yes, no := true, false
	u := &unit.Spec{
		Name:                name,
		Description:         "Container " + id,
		DefaultDependencies: &no,
		CollectMode:         "inactive-or-failed",
		Resources: unit.Resources{
			Slice: slice, Delegate: &yes,
			CPUAccounting: &yes, MemoryAccounting: &yes, IOAccounting: &yes, TasksAccounting: &yes,
		},
	}
	if err := limitScope(u, s.Linux.Resources); err != nil {
		return nil, err
	}
	// Settings of the unit that the engine asks for by annotations, as with runc
	// and crun: org.systemd.property.TimeoutStopUSec = "uint64 10000000".
	for key, text := range s.Annotations {
		setting, ok := strings.CutPrefix(key, "org.systemd.property.")
		if !ok {
			continue
		}
		p, err := unit.ParseProperty(setting, text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", key, err)
		}
		u.Properties = append(u.Properties, p)
	}
	return u, nil
}

// scopeName reads linux.cgroupsPath as --systemd-cgroup means it,
// "slice:prefix:name".
func scopeName(id, path string, root bool) (slice, name string, err error) {
	if path == "" {
		path = ":berth-runtime:" + id
	}
	part := strings.Split(path, ":")
	if len(part) != 3 {
		return "", "", fmt.Errorf("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", path)
	}
	slice, name = part[0], part[2]
	switch {
	case slice != "":
	case root:
		slice = "system.slice"
	default:
		slice = "user.slice"
	}
	if strings.HasSuffix(name, ".slice") {
		return "", "", &runtime.UnsupportedError{Feature: "cgroupsPath " + path, Needs: "a scope: no process can be in a slice"}
	}
	if part[1] != "" {
		name = part[1] + "-" + name
	}
	return slice, name + ".scope", nil
}

// limitScope gives the unit the limits that systemd has settings for.
func limitScope(u *unit.Spec, r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	res := &u.Resources
	if m := r.Memory; m != nil {
		res.MemoryMax, res.MemoryLow = asLimit(m.Limit), asLimit(m.Reservation)
		if swap, err := runtime.SwapMax(m); err != nil {
			return err
		} else if swap != nil {
			n := asLimit(swap)
			if *swap == 0 {
				n = 0
			}
			res.MemorySwapMax = &n
		}
	}
	if r.Pids != nil {
		res.TasksMax = asLimit(r.Pids.Limit)
	}
	if c := r.CPU; c != nil {
		limitCPU(u, c)
	}
	return limitUnified(u, r.Unified)
}

// limitUnified does so for what is given file by file. Files that systemd knows
// nothing of it leaves alone.
func limitUnified(u *unit.Spec, files map[string]string) error {
	res := &u.Resources
	for file, value := range files {
		n, err := unit.Infinity, error(nil)
		value = strings.TrimSpace(value)
		switch file {
		case "memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "pids.max", "cpu.weight":
			if value != "max" {
				n, err = strconv.ParseUint(value, 10, 64)
			}
		case "cpu.max":
			res.CPUQuota, res.CPUQuotaPeriod, err = parseCPUMax(value)
		}
		if err != nil {
			return fmt.Errorf("set %s to %s: %w", file, value, err)
		}
		switch file {
		case "memory.max":
			res.MemoryMax = n
		case "memory.high":
			res.MemoryHigh = n
		case "memory.low":
			res.MemoryLow = n
		case "memory.min":
			res.MemoryMin = n
		case "memory.swap.max":
			res.MemorySwapMax = &n
		case "pids.max":
			res.TasksMax = n
		case "cpu.weight":
			res.CPUWeight = n
		case "cpuset.cpus":
			res.AllowedCPUs = value
		case "cpuset.mems":
			res.AllowedMemoryNodes = value
		}
	}
	return nil
}

// parseCPUMax reads cpu.max: a quota in microseconds, or max, and a period.
func parseCPUMax(value string) (cpus float64, period time.Duration, err error) {
	quota, rest, _ := strings.Cut(value, " ")
	usec := uint64(100000)
	if rest != "" {
		if usec, err = strconv.ParseUint(rest, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	period = time.Duration(usec) * time.Microsecond
	if quota == "max" {
		return math.Inf(1), period, nil
	}
	n, err := strconv.ParseUint(quota, 10, 64)
	if err == nil && usec == 0 {
		err = errors.New("no period")
	}
	if err != nil {
		return 0, 0, err
	}
	return float64(n) / float64(usec), period, nil
}

func limitCPU(u *unit.Spec, c *specs.LinuxCPU) {
	res := &u.Resources
	res.AllowedCPUs, res.AllowedMemoryNodes = c.Cpus, c.Mems
	switch {
	case c.Idle != nil && *c.Idle == 1:
		// systemd ≥ 252: a weight of 0 is cpu.idle.
		u.Properties = append(u.Properties, unit.Property{Name: "CPUWeight", Value: uint64(0)})
	case c.Shares != nil && *c.Shares != 0:
		res.CPUWeight = cpushares.Weight(*c.Shares)
	}
	period := uint64(100000)
	if c.Period != nil && *c.Period != 0 {
		period = *c.Period
		res.CPUQuotaPeriod = time.Duration(period) * time.Microsecond
	}
	switch {
	case c.Quota == nil || *c.Quota == 0:
	case *c.Quota < 0:
		res.CPUQuota = math.Inf(1)
	default:
		res.CPUQuota = float64(*c.Quota) / float64(period)
	}
}

// asLimit is a limit as unit has it: 0 is none given.
func asLimit(n *int64) uint64 {
	switch {
	case n == nil:
		return 0
	case *n < 0:
		return unit.Infinity
	}
	return uint64(*n)
}

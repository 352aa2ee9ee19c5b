package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine/bundle"
	"github.com/berthrun/berth/internal/cpushares"
	"github.com/berthrun/berth/unit"
)

const (
	defaultSlice = "machine-berth.slice"

	// stopGrace is what the shim has after the container's own time to stop,
	// before systemd takes the unit for stuck.
	stopGrace = 10 * time.Second

	// storeMax is more than the shim puts into systemd's store of descriptors.
	storeMax = 128
)

// UnitName is the transient unit of a container, TemplateName its instance of
// container@.service.
func UnitName(name string) string     { return "berth-" + name + ".service" }
func TemplateName(name string) string { return "container@" + name + ".service" }

// quiet keeps systemd from saying of the units beside a container's that they
// came and went as they should: that is said of the container's own.
const quiet = "notice"

// sweepName is the unit that clears up after a killed supervisor. Its '@' is in
// no container's name.
func sweepName(container string) string { return "berth-sweep@" + container + ".service" }

func socketName(service string) string { return strings.TrimSuffix(service, ".service") + ".socket" }

// transient describes the unit that door 1 starts.
func transient(h *Host, r *container.Record, version int) *unit.Spec {
	s := supervised(r, version)
	name := UnitName(r.Name)
	s.Name = name
	s.Description = description(r)
	shim := []string{h.libexec("berth-shim"), "--root", h.Containers.Root(), "--run", h.Containers.Run()}
	s.Service.ExecStart = []unit.Command{{Argv: append(slices.Clone(shim), r.ID)}}
	if releasing(version) {
		s.Service.ExecStopPost = []unit.Command{{Argv: []string{shim[0], "--release"}, IgnoreFailure: true}}
	}
	s.Dependencies.Wants = []string{socketName(name)}
	s.Dependencies.After = append(s.Dependencies.After, socketName(name))
	s.Aux = []unit.Spec{{
		Name:        socketName(name),
		Description: "Control socket of container " + r.Name,
		CollectMode: "inactive-or-failed",
		// It goes when the service has ended, and only then: to systemd the
		// service needs its socket while it runs, has a job, or is about to be
		// restarted. So the listener is the same through any number of killed
		// shims, clients wait in its queue, and nothing starts a container
		// again that has ended. BindsTo= and PartOf= do not give that.
		StopWhenUnneeded: true,
		// The end of the socket is the end of the service, also one between a
		// shim's death and its restart, of which no ExecStopPost= of the
		// service is told.
		Dependencies: unit.Dependencies{OnSuccess: []string{sweepName(r.Name)}, OnFailure: []string{sweepName(r.Name)}},
		Exec:         unit.Exec{LogLevelMax: quiet},
		// The service has them, and it is the service that goes at shutdown.
		DefaultDependencies: new(false),
		Socket: unit.Socket{
			Listen:             []unit.Listen{{Type: "Stream", Address: h.Containers.Control(r.ID)}},
			FileDescriptorName: "control",
			SocketMode:         0o600,
			DirectoryMode:      0o700,
			RemoveOnStop:       true,
			// Clients that wait for a shim to come back trigger its start each
			// time; more than a few in two seconds would fail the socket.
			TriggerLimitInterval: new(time.Duration),
		},
	}, {
		Name:        sweepName(r.Name),
		Description: "Clear away what the supervisor of container " + r.Name + " left",
		CollectMode: "inactive-or-failed",
		// A supervisor that came to its end left nothing: no process is
		// started to find that out.
		ConditionPathExists: []string{h.Containers.RunDir(r.ID)},
		DefaultDependencies: new(false),
		Exec:                unit.Exec{LogLevelMax: quiet, StandardOutput: "null", StandardError: "null"}, // cmd/berth-shim reports
		// Else systemd would make a slice for all units of this prefix.
		Resources: unit.Resources{Slice: "system.slice"},
		Service: unit.Service{
			Type:      "oneshot",
			ExecStart: []unit.Command{{Argv: append(slices.Insert(shim, 1, "sweep"), r.ID)}},
		},
	}}
	return s
}

// supervised is what both doors' units have for container r. What does not
// depend on r is written into container@.service too.
func supervised(r *container.Record, version int) *unit.Spec {
	s := ownSettings(r)
	yes, now, never := true, time.Duration(0), time.Duration(0)
	start := unit.Forever
	s.CollectMode = "inactive-or-failed"
	s.StartLimitInterval = &never // we count restarts ourselves
	// shim.Run says why of the first, shim/report.go of the other two.
	s.Exec.Environment = []string{"GOTRACEBACK=crash", "GOMAXPROCS=1", "GOGC=off"}
	s.Exec.StandardOutput, s.Exec.StandardError = "null", "null"
	s.Kill.Mode = "process" // the container outlives its shim
	s.Resources.Delegate = &yes
	if unit.DelegateSubgroup.In(version) {
		s.Resources.DelegateSubgroup = container.ShimCgroup
	}
	s.Service.Type = "notify"
	s.Service.NotifyAccess = "main"
	if unit.RestartDirect.In(version) {
		s.Service.RestartMode = "direct"
	}
	if s.Service.RestartSec == nil {
		s.Service.RestartSec = &now
	}
	s.Service.FileDescriptorStoreMax = storeMax
	s.Service.TimeoutStart = &start // hooks and volumes may take their time
	s.Service.OOMPolicy = "continue"
	return s
}

// releasing says whether the unit's cgroup has to be made ready for a restart of
// the shim (shim.Release): where systemd knows no subgroup to put it into, and
// there are controllers that the container may have been given.
func releasing(version int) bool {
	if unit.DelegateSubgroup.In(version) {
		return false
	}
	have, err := controllers()
	return err == nil && len(have) > 0
}

// ownSettings are those that differ from container to container: the drop-in
// of door 2.
func ownSettings(r *container.Record) *unit.Spec {
	stop := r.StopTimeout + stopGrace
	s := &unit.Spec{
		Name:      TemplateName(r.Name),
		Resources: limits(&r.Spec.Resources),
		Service:   unit.Service{Restart: restart(r.Restart), TimeoutStop: &stop},
	}
	if s.Service.Restart != onAbnormal {
		// A container that fails at once is not started without a pause, at
		// the price of one for a killed shim.
		pause := 100 * time.Millisecond
		s.Service.RestartSec = &pause
	}
	if r.Log.Driver == "journald" {
		// No line is dropped for being one of many. An interval of 0 would
		// be the way to say so, but systemd 252 does not pass that on.
		interval, burst := time.Microsecond, uint32(1e9)
		s.Exec.LogRateLimitInterval, s.Exec.LogRateLimitBurst = &interval, &burst
	}
	s.Resources.Slice = r.Spec.Slice
	if s.Resources.Slice == "" {
		s.Resources.Slice = defaultSlice
	}
	s.Resources.DevicePolicy = "auto"
	if !r.Spec.Privileged {
		s.Resources.DevicePolicy = "closed"
		s.Resources.DeviceAllow = deviceAllow(&r.Spec)
	}
	return s
}

func description(r *container.Record) string {
	what := r.Image.Name
	if what == "" {
		what = r.Rootfs.Path
	}
	return fmt.Sprintf("Container %s (%s)", r.Name, what)
}

// restart translates Docker's policy. Whatever it is, a shim that dies by a
// signal is restarted: it takes the running container over.
func restart(p container.RestartPolicy) string {
	switch p.Name {
	case "on-failure":
		return "on-failure"
	case "always", "unless-stopped":
		return "always"
	}
	return onAbnormal
}

const onAbnormal = "on-abnormal"

// limits are the unit's resources. The shim lives in the same unit: its few
// threads are added where a container could be starved by them.
func limits(r *container.Resources) unit.Resources {
	u := unit.Resources{
		CPUQuota:           float64(r.NanoCPUs) / 1e9,
		CPUWeight:          cpuWeight(r.CPUShares),
		AllowedCPUs:        r.CPUSetCPUs,
		AllowedMemoryNodes: r.CPUSetMems,
		MemoryMax:          uint64(max(r.Memory, 0)),
		MemoryLow:          uint64(max(r.MemoryReservation, 0)),
		TasksMax:           unit.Infinity,
	}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		u.TasksMax = uint64(*r.PidsLimit) + container.ShimTasks
	}
	switch {
	case r.MemorySwap < 0:
		swap := unit.Infinity
		u.MemorySwapMax = &swap
	case r.Memory > 0:
		// Docker's meaning: memory and swap together; twice the memory where
		// only that was given.
		swap := uint64(r.Memory)
		if r.MemorySwap > 0 {
			swap = uint64(max(r.MemorySwap-r.Memory, 0))
		}
		u.MemorySwapMax = &swap
	}
	return u
}

// cpuWeight is 0, systemd's own, where no shares were asked for.
func cpuWeight(shares uint64) uint64 {
	if shares == 0 {
		return 0
	}
	return cpushares.Weight(shares)
}

// deviceAllow is the unit's device policy beyond DevicePolicy=closed, which
// allows null, zero, full, random, urandom, tty, ptmx and the terminals of
// /dev/pts (bpf_devices_allow_list_static of systemd 252 and 257): enforced by
// systemd for everything in the unit.
func deviceAllow(s *container.Spec) []unit.Device {
	var allow []unit.Device
	if slices.ContainsFunc(s.CapAdd, func(c string) bool {
		return strings.HasSuffix(strings.ToUpper(c), "MKNOD") || strings.ToUpper(c) == "ALL"
	}) {
		// To make a node is no access to the device.
		allow = append(allow, unit.Device{Path: "char-*", Access: "m"}, unit.Device{Path: "block-*", Access: "m"})
	}
	for _, d := range s.Devices {
		access := d.Access
		if access == "" {
			access = "rwm"
		}
		for _, path := range bundle.DeviceNames(d.Source) {
			allow = append(allow, unit.Device{Path: path, Access: access})
		}
	}
	return allow
}

// unmetLimits says which limits that were asked for this machine cannot hold:
// where the host has a controller on cgroup v1, the v2 tree lacks it.
func unmetLimits(r *container.Resources) []string {
	have, err := controllers()
	if err != nil {
		return nil
	}
	var unmet []string
	for _, l := range []struct {
		asked      bool
		flag, ctrl string
	}{
		{r.Memory > 0, "memory", "memory"},
		{r.MemorySwap != 0, "memory-swap", "memory"},
		{r.MemoryReservation > 0, "memory-reservation", "memory"},
		{r.NanoCPUs > 0, "cpus", "cpu"},
		{r.CPUShares > 0, "cpu-shares", "cpu"},
		{r.CPUSetCPUs != "", "cpuset-cpus", "cpuset"},
		{r.CPUSetMems != "", "cpuset-mems", "cpuset"},
		{r.PidsLimit != nil && *r.PidsLimit > 0, "pids-limit", "pids"},
	} {
		if l.asked && !slices.Contains(have, l.ctrl) {
			unmet = append(unmet, fmt.Sprintf("--%s cannot hold: this machine's cgroup v2 has no %s controller", l.flag, l.ctrl))
		}
	}
	return unmet
}

// unmetRestart says what of a restart policy does not hold.
func unmetRestart(p container.RestartPolicy) []string {
	if p.MaxRetries == 0 {
		return nil
	}
	return []string{fmt.Sprintf("--restart=%s:%d cannot hold: restarts are not counted yet, nothing ends them", p.Name, p.MaxRetries)}
}

func controllers() ([]string, error) {
	data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	return strings.Fields(string(data)), err
}

// dropInDir is where systemd looks for settings of units that do not outlive
// this boot. A drop-in of an instance that is not loaded is read without a
// daemon-reload.
const dropInDir = "/run/systemd/system"

const dropInFile = "50-berth.conf"

// writeDropIn gives container@NAME.service the settings of r.
func writeDropIn(h *Host, r *container.Record) error {
	return WriteDropIn(dropInDir, r)
}

// WriteDropIn writes the settings of r below dir, one of systemd's unit
// directories. There is none for a container that is as the template is: a new
// entry in such a directory makes systemd read all of them again at the next
// start of any unit.
func WriteDropIn(dir string, r *container.Record) error {
	text, err := ownSettings(r).DropIn(0)
	if err != nil {
		return err
	}
	plain, err := ownSettings(plainRecord(r.Name)).DropIn(0)
	if err != nil || text == plain {
		return err
	}
	dir = filepath.Join(dir, TemplateName(r.Name)+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write drop-in of %s: %w", TemplateName(r.Name), err)
	}
	return container.WriteFile(filepath.Join(dir, dropInFile), []byte(resetLists+text), 0o644, false)
}

// resetLists takes back what the template says in lists, which a drop-in would
// add to.
const resetLists = "[Service]\nDeviceAllow=\n\n"

// plainRecord is a container whose settings are those of container@.service.
func plainRecord(name string) *container.Record {
	r := &container.Record{Name: name, StopTimeout: defaultStopTimeout, Log: container.LogConfig{Driver: "journald"}}
	limit := int64(defaultPidsLimit)
	r.Spec.Resources.PidsLimit = &limit
	return r
}

// The defaults of berth.conf, which the template has too.
const (
	defaultStopTimeout = 10 * time.Second
	defaultPidsLimit   = 2048
)

func removeDropIn(h *Host, name string) error {
	dir := filepath.Join(dropInDir, TemplateName(name)+".d")
	if err := os.Remove(filepath.Join(dir, dropInFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What a client left that was killed while it wrote.
	left, _ := filepath.Glob(filepath.Join(dir, "."+dropInFile+"-*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
	// Somebody else's drop-ins may lie beside ours.
	_ = os.Remove(dir)
	return nil
}

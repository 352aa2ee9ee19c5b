package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
)

// values reads flags and keeps the first error, so that a table of them reads
// as one.
type values struct {
	*cli.Context
	env environment
	err error
	set map[string]bool // by IsSet
}

// IsSet says whether a flag was given. The library's own looks through all
// flags by regular expressions, each time.
func (v *values) IsSet(name string) bool {
	if v.set == nil {
		v.set = map[string]bool{}
		for _, n := range v.FlagNames() {
			v.set[n] = true
		}
	}
	return v.set[name]
}

func (v *values) fail(name, value string, err error) {
	if v.err == nil {
		v.err = fmt.Errorf("%s %q: want %w", dashed(name), value, err)
	}
}

// one returns the parsed value of a flag; the zero value where it was not given.
func one[T any](v *values, name string, parse func(string) (T, error)) T {
	var zero T
	if !v.IsSet(name) {
		return zero
	}
	t, err := parse(v.String(name))
	if err != nil {
		v.fail(name, v.String(name), err)
		return zero
	}
	return t
}

// pointer is one, with nil where the flag was not given.
func pointer[T any](v *values, name string, parse func(string) (T, error)) *T {
	if !v.IsSet(name) {
		return nil
	}
	t := one(v, name, parse)
	return &t
}

// all returns the parsed values of a flag that may be repeated.
func all[T any](v *values, name string, parse func(string) (T, error)) []T {
	var list []T
	for _, s := range v.StringSlice(name) {
		t, err := parse(s)
		if err != nil {
			v.fail(name, s, err)
			return nil
		}
		list = append(list, t)
	}
	return list
}

// pairs collects KEY=VALUE.
func pairs(v *values, into map[string]string, name string, parse func(string) ([2]string, error)) map[string]string {
	for _, kv := range all(v, name, parse) {
		if into == nil {
			into = map[string]string{}
		}
		into[kv[0]] = kv[1]
	}
	return into
}

// parseSpec turns the flags and arguments of run and create into a Spec.
func parseSpec(flags *cli.Context, args []string, env environment) (container.Spec, error) {
	v := &values{Context: flags, env: env}
	s := container.Spec{
		Name:       one(v, "name", parseName),
		Pull:       one(v, "pull", parsePull),
		Platform:   one(v, "platform", parsePlatform),
		Entrypoint: pointer(v, "entrypoint", parseEntrypoint),

		User:       one(v, "user", nonEmpty),
		Groups:     all(v, "group-add", nonEmpty),
		WorkDir:    one(v, "workdir", parseWorkDir),
		Hostname:   one(v, "hostname", parseHostname),
		Umask:      one(v, "umask", parseUmask),
		Timezone:   one(v, "tz", parseTimezone),
		TTY:        v.Bool("tty"),
		OpenStdin:  v.Bool("interactive"),
		Init:       v.Bool("init"),
		AutoRemove: v.Bool("rm"),

		StopTimeout: pointer(v, "stop-timeout", parseSeconds),
		Restart:     one(v, "restart", parseRestart),

		ReadOnly: v.Bool("read-only"),
		ShmSize:  one(v, "shm-size", parseSize),
		Devices:  all(v, "device", parseDevice),

		Privileged:  v.Bool("privileged"),
		CapAdd:      all(v, "cap-add", nonEmpty),
		CapDrop:     all(v, "cap-drop", nonEmpty),
		SecurityOpt: all(v, "security-opt", env.securityOpt),
		Ulimits:     all(v, "ulimit", parseUlimit),
		Sysctls:     pairs(v, nil, "sysctl", parsePair),
		Annotations: pairs(v, nil, "annotation", parsePair),

		Network:    one(v, "network", parseNetwork),
		PID:        one(v, "pid", parseNamespace("private", "host", "container:", "ns:")),
		IPC:        one(v, "ipc", parseNamespace("private", "host", "none", "shareable", "container:", "ns:")),
		UTS:        one(v, "uts", parseNamespace("private", "host", "container:", "ns:")),
		Cgroupns:   one(v, "cgroupns", parseNamespace("private", "host")),
		DNS:        all(v, "dns", parseDNS),
		DNSSearch:  all(v, "dns-search", nonEmpty),
		DNSOptions: all(v, "dns-option", nonEmpty),
		AddHosts:   slices.Concat(all(v, "add-host", parseAddHost)...),

		Resources: v.resources(),
		Slice:     one(v, "slice", parseSlice),
		Log: container.LogConfig{
			Driver:  one(v, "log-driver", parseChoice("journald", "k8s-file", "none")),
			Options: pairs(v, nil, "log-opt", parsePair),
		},
		Runtime: one(v, "runtime", nonEmpty),
	}
	if sig := one(v, "stop-signal", parseSignal); sig != 0 {
		s.StopSignal = v.String("stop-signal")
	}
	if adj := pointer(v, "oom-score-adj", parseInt(-1000, 1000, "a number from -1000 to 1000")); adj != nil {
		n := int(*adj)
		s.OOMScoreAdj = &n
	}
	s.Env = v.environment()
	s.Labels = v.labels()
	s.Mounts = v.mounts(s.ReadOnly)
	if v.err != nil {
		return s, &usageError{err: v.err}
	}
	if err := v.program(&s, args); err != nil {
		return s, &usageError{err: err}
	}
	return s, nil
}

// program sets what is run: an image or a directory, and the arguments.
func (v *values) program(s *container.Spec, args []string) error {
	s.Rootfs = v.String("rootfs")
	switch {
	case s.Rootfs == "" || s.Rootfs == "false":
		s.Rootfs, s.Image = "", args[0]
		s.Args = args[1:]
		if strings.ContainsAny(s.Image, " \t\n") || s.Image == "" {
			return fmt.Errorf("image %q: want a name such as debian:13", s.Image)
		}
	case s.Rootfs == rootfsFirst:
		s.Rootfs, s.Args = args[0], args[1:]
	default:
		s.Args = args
	}
	if len(s.Args) == 0 {
		s.Args = nil
	}
	if s.Rootfs != "" {
		if !strings.ContainsAny(s.Rootfs[:1], "/.~") {
			s.Rootfs = "./" + s.Rootfs
		}
		dir, err := v.env.hostPath(s.Rootfs)
		if err == nil {
			err = sourceExists(dir)
		}
		if err != nil {
			return fmt.Errorf("--rootfs %q: want %w", s.Rootfs, err)
		}
		s.Rootfs = dir
	}
	return v.conflicts(s)
}

// conflicts finds flags that contradict each other.
func (v *values) conflicts(s *container.Spec) error {
	policy := s.Restart.Name
	switch {
	case s.AutoRemove && policy != "" && policy != "no":
		return fmt.Errorf("--rm and --restart=%s exclude each other", policy)
	case s.Hostname != "" && s.UTS == "host":
		return errors.New("--hostname and --uts=host exclude each other")
	case s.Rootfs != "" && s.Pull != "":
		return errors.New("--rootfs and --pull exclude each other: no image is used")
	case v.IsSet("cpus") && (v.IsSet("cpu-quota") || v.IsSet("cpu-period")):
		return errors.New("--cpus and --cpu-quota exclude each other")
	case s.Resources.MemorySwap > 0 && s.Resources.Memory == 0:
		return errors.New("--memory-swap needs --memory: it is the sum of memory and swap")
	case s.Resources.MemorySwap > 0 && s.Resources.MemorySwap < s.Resources.Memory:
		return errors.New("--memory-swap is less than --memory: it is the sum of memory and swap")
	case s.Resources.Memory > 0 && s.Resources.MemoryReservation > s.Resources.Memory:
		return errors.New("--memory-reservation is more than --memory")
	case v.Bool("replace") && s.Name == "":
		return errors.New("--replace needs --name")
	}
	return nil
}

// resources are the limits.
func (v *values) resources() container.Resources {
	r := container.Resources{
		Memory:            one(v, "memory", parseSize),
		MemorySwap:        one(v, "memory-swap", parseSwap),
		MemoryReservation: one(v, "memory-reservation", parseSize),
		NanoCPUs:          one(v, "cpus", parseCPUs),
		CPUShares:         uint64(one(v, "cpu-shares", parseInt(0, 262144, "a number from 2 to 262144"))),
		CPUSetCPUs:        one(v, "cpuset-cpus", parseCPUSet),
		CPUSetMems:        one(v, "cpuset-mems", parseCPUSet),
		PidsLimit:         pointer(v, "pids-limit", parseInt(-1, 1<<22, "a number of processes, -1 for no limit")),
	}
	if quota := one(v, "cpu-quota", parseInt(-1, 1<<40, "a number of microseconds, -1 for no limit")); quota > 0 {
		period := int64(100000)
		if p := one(v, "cpu-period", parseInt(1000, 1000000, "a number of microseconds from 1000 to 1000000")); p != 0 {
			period = p
		}
		r.NanoCPUs = quota * 1e9 / period
	}
	return r
}

// environment is that of the files, then that of -e: a later one overrides.
func (v *values) environment() []string {
	var env []string
	for _, path := range v.StringSlice("env-file") {
		list, err := v.env.readEnvFile(path)
		if err != nil {
			v.fail("env-file", path, fmt.Errorf("a file of KEY=VALUE lines: %w", err))
			return nil
		}
		env = append(env, list...)
	}
	return append(env, slices.Concat(all(v, "env", v.env.expandEnv)...)...)
}

func (v *values) labels() map[string]string {
	var labels map[string]string
	for _, path := range v.StringSlice("label-file") {
		lines, err := readKeyValues(path)
		if err != nil {
			v.fail("label-file", path, fmt.Errorf("a file of KEY=VALUE lines: %w", err))
			return nil
		}
		for _, line := range lines {
			if labels == nil {
				labels = map[string]string{}
			}
			key, value, _ := strings.Cut(line, "=")
			labels[key] = value
		}
	}
	return pairs(v, labels, "label", parseKeyValue)
}

// mounts are those of -v, --mount and --tmpfs. Two at one place contradict each
// other.
func (v *values) mounts(readOnly bool) []container.Mount {
	list := slices.Concat(
		all(v, "volume", v.env.parseVolume),
		all(v, "mount", v.env.parseMount),
		all(v, "tmpfs", parseTmpfs),
	)
	taken := map[string]bool{}
	for _, m := range list {
		if taken[m.Destination] && v.err == nil {
			v.err = fmt.Errorf("two mounts at %s: choose one of them", m.Destination)
		}
		taken[m.Destination] = true
	}
	if readOnly && v.Bool("read-only-tmpfs") {
		for _, dir := range []string{"/run", "/tmp", "/var/tmp"} {
			if !taken[dir] {
				list = append(list, container.Mount{Type: "tmpfs", Destination: dir, Options: []string{"rw", "exec", "mode=1777", "tmpcopyup"}})
			}
		}
	}
	return list
}

func parsePull(s string) (string, error) {
	return parseChoice("always", "missing", "newer", "never")(s)
}

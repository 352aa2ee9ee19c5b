package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/profiles/seccomp"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/apparmor"
)

// Input is what a bundle is made from.
type Input struct {
	Spec    *container.Spec
	ID      string
	Dir     string // the container's directory, where hosts and the like will lie
	Image   *ispec.ImageConfig
	Tree    Tree     // the root file system, for users and groups
	Command []string // see Command
	Init    string   // berth-init on the host, for --init
	// UnitRules: the rules for devices are left to the unit (DevicePolicy=,
	// DeviceAllow=), which has them anyway.
	UnitRules bool
	// Join is the path of a namespace to join by its OCI type, for
	// container:NAME; resolved by the caller.
	Join map[specs.LinuxNamespaceType]string
	// NetDir is the directory of the container whose network this one shares:
	// that one's hosts and resolv.conf are this one's too. Empty: Dir.
	NetDir string
}

// initPath is where --init puts its process in the container.
const initPath = "/run/berth-init"

// ociVersion is the oldest runtime-spec that has all that is used here: crun 1.8
// refuses to read what says it is newer.
const ociVersion = "1.0.2"

// Config makes the OCI runtime configuration.
func Config(in *Input) (*specs.Spec, error) {
	s := in.Spec
	sec, err := parseSecurity(s.SecurityOpt)
	if err != nil {
		return nil, err
	}
	process, err := process(in, sec)
	if err != nil {
		return nil, err
	}
	nodes, rules, err := deviceConfig(s)
	if err != nil {
		return nil, err
	}
	mounts, err := mounts(in)
	if err != nil {
		return nil, err
	}
	namespaces, err := namespaces(in)
	if err != nil {
		return nil, err
	}
	sysctls, err := sysctls(s)
	if err != nil {
		return nil, err
	}
	config := &specs.Spec{
		Version:     ociVersion,
		Process:     process,
		Root:        &specs.Root{Path: container.RootfsDir, Readonly: s.ReadOnly},
		Hostname:    Hostname(s, in.ID),
		Mounts:      mounts,
		Annotations: s.Annotations,
		Linux: &specs.Linux{
			CgroupsPath: container.CgroupPlaceholder,
			Namespaces:  namespaces,
			Devices:     nodes,
			Sysctl:      sysctls,
			Resources:   &specs.LinuxResources{Devices: rules},
		},
	}
	if in.UnitRules {
		config.Linux.Resources = nil
	}
	if s.UTS == "host" {
		config.Hostname = "" // not ours to set
	}
	if !s.Privileged {
		config.Linux.MaskedPaths = sec.hide(maskedPaths)
		config.Linux.ReadonlyPaths = sec.hide(readonlyPaths)
	}
	config.Linux.MaskedPaths = append(config.Linux.MaskedPaths, sec.mask...)
	if s.Privileged && sec.profile == "" {
		return config, nil // a profile that was asked for holds all the same
	}
	if config.Linux.Seccomp, err = sec.filter(config); err != nil {
		return nil, err
	}
	return config, nil
}

// Hostname is the name a container calls itself: with the host's network the host's.
func Hostname(s *container.Spec, id string) string {
	if s.Hostname != "" {
		return s.Hostname
	}
	if s.Network == "host" || s.UTS == "host" {
		if name, err := os.Hostname(); err == nil {
			return name
		}
	}
	return id[:12]
}

func process(in *Input, sec *security) (*specs.Process, error) {
	s := in.Spec
	want := s.User
	if want == "" {
		want = in.Image.User
	}
	u, home, err := User(in.Tree, want, s.Groups)
	if err != nil {
		return nil, err
	}
	if u.Umask, err = Umask(s.Umask); err != nil {
		return nil, err
	}
	caps, err := Capabilities(s.Privileged, s.CapAdd, s.CapDrop)
	if err != nil {
		return nil, err
	}
	cwd := s.WorkDir
	if cwd == "" {
		cwd = in.Image.WorkingDir
	}
	if cwd == "" {
		cwd = "/"
	}
	if !filepath.IsAbs(cwd) {
		return nil, fmt.Errorf("workdir %q: must be an absolute path", cwd)
	}
	args := in.Command
	if s.Init {
		args = append([]string{initPath, "--"}, args...)
	}
	p := &specs.Process{
		Terminal:        s.TTY,
		User:            u,
		Args:            args,
		Env:             Environment(s, in.Image, Hostname(s, in.ID), home),
		Cwd:             filepath.Clean(cwd),
		Capabilities:    processCaps(caps, u.UID, s.CapAdd),
		Rlimits:         rlimits(s.Ulimits),
		NoNewPrivileges: sec.noNewPrivileges,
		OOMScoreAdj:     s.OOMScoreAdj,
	}
	return p, nil
}

// processCaps: root has the whole set; another user has it as a bound only,
// and in effect what was asked for by name (ambient, so that it outlives execve).
func processCaps(caps []string, uid uint32, added []string) *specs.LinuxCapabilities {
	if uid == 0 {
		return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	}
	var asked []string
	if names, err := capNames("cap-add", added); err == nil {
		for _, n := range names {
			if n == "CAP_ALL" {
				asked = slices.Clone(caps)
			} else if slices.Contains(caps, n) {
				asked = append(asked, n)
			}
		}
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	return &specs.LinuxCapabilities{Bounding: caps, Effective: asked, Permitted: asked, Inheritable: asked, Ambient: asked}
}

func deviceConfig(s *container.Spec) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	if s.Privileged {
		nodes, err := deviceNodes("/dev", "/dev")
		if err != nil {
			return nil, nil, fmt.Errorf("privileged: devices of the host: %w", err)
		}
		nodes = slices.DeleteFunc(nodes, func(n specs.LinuxDevice) bool { return isDefaultDevice(n.Path) })
		return nodes, []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, nil
	}
	nodes, rules, err := devices(s.Devices)
	if err != nil {
		return nil, nil, err
	}
	return nodes, append(defaultDeviceRules(), rules...), nil
}

func isDefaultDevice(path string) bool {
	switch path {
	case "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx":
		return true
	}
	return false
}

// namespaces: each is private unless the spec shares the host's or another's.
func namespaces(in *Input) ([]specs.LinuxNamespace, error) {
	s := in.Spec
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		flag string
		mode string
	}{
		{specs.PIDNamespace, "pid", s.PID},
		{specs.NetworkNamespace, "network", s.Network},
		{specs.IPCNamespace, "ipc", s.IPC},
		{specs.UTSNamespace, "uts", s.UTS},
		{specs.CgroupNamespace, "cgroupns", s.Cgroupns},
	} {
		kind, value, _ := strings.Cut(n.mode, ":")
		switch kind {
		case "", "private", "none", "shareable":
			list = append(list, specs.LinuxNamespace{Type: n.kind})
		case "host":
		case "ns":
			if !filepath.IsAbs(value) {
				return nil, fmt.Errorf("%s %q: ns: needs the absolute path of a namespace", n.flag, n.mode)
			}
			list = append(list, specs.LinuxNamespace{Type: n.kind, Path: value})
		case "container":
			if in.Join[n.kind] == "" {
				return nil, fmt.Errorf("%s %q: cannot be joined", n.flag, n.mode)
			}
			list = append(list, specs.LinuxNamespace{Type: n.kind, Path: in.Join[n.kind]})
		default:
			return nil, fmt.Errorf("%s %q: must be private, host, container:NAME or ns:PATH", n.flag, n.mode)
		}
	}
	return list, nil
}

// sysctls are the user's and, in a network namespace of its own, the one that
// lets anybody in the container ping, without CAP_NET_RAW (Linux 3.0).
func sysctls(s *container.Spec) (map[string]string, error) {
	m := map[string]string{}
	if s.Network == "" || s.Network == "none" || s.Network == "private" {
		m["net.ipv4.ping_group_range"] = "0 0"
	}
	for k, v := range s.Sysctls {
		if err := checkSysctl(s, k); err != nil {
			return nil, fmt.Errorf("sysctl %q: %w", k, err)
		}
		m[k] = v
	}
	return m, nil
}

// checkSysctl refuses what is not a namespace's of the container's own, but the
// host's (sysctl(8) takes dots and slashes; so do runtimes).
func checkSysctl(s *container.Spec, name string) error {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	if name != filepath.Clean(name) {
		return errors.New("not a name: see /proc/sys")
	}
	var flag, mode string
	switch {
	case strings.HasPrefix(name, "net/"):
		flag, mode = "network", s.Network
	case strings.HasPrefix(name, "fs/mqueue/"), strings.HasPrefix(name, "kernel/msg"), strings.HasPrefix(name, "kernel/shm"), name == "kernel/sem":
		flag, mode = "ipc", s.IPC
	case name == "kernel/domainname":
		flag, mode = "uts", s.UTS
	case name == "kernel/hostname":
		return errors.New("the host name is set by --hostname")
	default:
		return errors.New("is the whole host's: only net.*, fs.mqueue.*, kernel.msg*, kernel.shm*, kernel.sem and kernel.domainname are a container's own")
	}
	if mode == "host" {
		return fmt.Errorf("is the host's with --%s host", flag)
	}
	return nil
}

// security is --security-opt, parsed.
type security struct {
	noNewPrivileges bool
	profile         string // "", "unconfined" or the file of a seccomp profile
	apparmor        string // "", "unconfined" or the name of an AppArmor profile
	mask, unmask    []string
	unmaskAll       bool
}

// paths splits PATH[:PATH...].
func paths(list string) ([]string, error) {
	all := strings.Split(list, ":")
	for _, p := range all {
		if !filepath.IsAbs(p) {
			return nil, errors.New("must be absolute paths, with a colon between two")
		}
	}
	return all, nil
}

func parseSecurity(opts []string) (*security, error) {
	sec := new(security)
	for _, o := range opts {
		key, value, has := strings.Cut(o, "=")
		if !has {
			if k, v, colon := strings.Cut(o, ":"); colon {
				key, value = k, v
			}
		}
		switch key {
		case "no-new-privileges":
			switch value {
			case "", "true":
				sec.noNewPrivileges = true
			case "false":
				sec.noNewPrivileges = false
			default:
				return nil, fmt.Errorf("security-opt %q: must be true or false", o)
			}
		case "seccomp":
			if value == "" {
				return nil, fmt.Errorf("security-opt %q: must be seccomp=unconfined or seccomp=FILE", o)
			}
			sec.profile = value
		case "mask":
			paths, err := paths(value)
			if err != nil {
				return nil, fmt.Errorf("security-opt %q: %w", o, err)
			}
			sec.mask = append(sec.mask, paths...)
		case "unmask":
			if strings.EqualFold(value, "ALL") {
				sec.unmaskAll = true
				break
			}
			paths, err := paths(value)
			if err != nil {
				return nil, fmt.Errorf("security-opt %q: %w, or ALL", o, err)
			}
			sec.unmask = append(sec.unmask, paths...)
		case "systempaths":
			if value != "unconfined" {
				return nil, fmt.Errorf("security-opt %q: must be systempaths=unconfined", o)
			}
			sec.unmaskAll = true
		case "apparmor":
			if value == "" || strings.ContainsFunc(value, unicode.IsControl) {
				return nil, fmt.Errorf("security-opt %q: must be apparmor=unconfined or apparmor=PROFILE", o)
			}
			sec.apparmor = value
		case "label":
			if value != "disable" {
				return nil, fmt.Errorf("security-opt %q: not supported yet: only label=disable is", o)
			}
		default:
			return nil, fmt.Errorf("security-opt %q: unknown: must be no-new-privileges, apparmor=, seccomp=, mask=, unmask= or systempaths=unconfined", o)
		}
	}
	return sec, nil
}

// AppArmor is the profile that spec asks for, "unconfined", or "" where the
// default is meant. It is for the record: Config leaves it out.
func AppArmor(s *container.Spec) (string, error) {
	sec, err := parseSecurity(s.SecurityOpt)
	if err != nil {
		return "", err
	}
	if s.Privileged && sec.apparmor == "" {
		return apparmor.Unconfined, nil // a profile that was asked for holds all the same
	}
	return sec.apparmor, nil
}

// hide returns the paths that --security-opt unmask= leaves hidden.
func (sec *security) hide(paths []string) []string {
	kept := make([]string, 0, len(paths))
	for _, p := range paths {
		if !sec.unmaskAll && !matchesAny(sec.unmask, p) {
			kept = append(kept, p)
		}
	}
	return kept
}

func matchesAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if ok, err := filepath.Match(p, path); ok && err == nil {
			return true
		}
	}
	return false
}

func (sec *security) filter(config *specs.Spec) (*specs.LinuxSeccomp, error) {
	switch sec.profile {
	case "unconfined":
		return nil, nil
	case "":
		f, err := seccomp.GetDefaultProfile(config)
		if err != nil {
			return nil, fmt.Errorf("seccomp: default profile: %w", err)
		}
		return f, nil
	}
	data, err := os.ReadFile(sec.profile)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	f, err := seccomp.LoadProfile(string(data), config)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile %s: %w", sec.profile, err)
	}
	return f, nil
}

// What /proc and /sys tell about the host and a container must not see.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
	"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

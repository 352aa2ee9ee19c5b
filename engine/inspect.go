package engine

import (
	"context"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine/bundle"
)

// Details is what inspect shows of a container, in the shape that Docker's
// clients read and Podman's too.
type Details struct {
	ID              string `json:"Id"`
	Created         time.Time
	Path            string
	Args            []string
	State           DetailsState
	Image           string
	ImageName       string
	ImageDigest     string
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	LogPath         string
	Name            string
	RestartCount    int
	Driver          string
	Platform        string
	OCIRuntime      string
	AppArmorProfile string
	Unit            string // of systemd, that the container runs in or ran in last
	Mounts          []DetailsMount
	Config          DetailsConfig
	HostConfig      DetailsHost
	GraphDriver     DetailsGraph
	NetworkSettings DetailsNetwork
}

// DetailsState is how the container is.
type DetailsState struct {
	Status     container.State
	Running    bool
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   *int // null where nobody observed it
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
	CgroupPath string
}

// DetailsMount is one mount that a user asked for.
type DetailsMount struct {
	Type        string
	Source      string
	Destination string
	Mode        string
	RW          bool
	Propagation string
}

// DetailsConfig is what is portable of the wish.
type DetailsConfig struct {
	Hostname    string
	User        string
	Tty         bool
	OpenStdin   bool
	Env         []string
	Cmd         []string
	Image       string
	WorkingDir  string
	Entrypoint  []string
	Labels      map[string]string
	Annotations map[string]string
	StopSignal  string
	StopTimeout int
}

// DetailsHost is what is not.
type DetailsHost struct {
	AutoRemove    bool
	Binds         []string
	NetworkMode   string
	RestartPolicy struct {
		Name              string
		MaximumRetryCount int
	}
	LogConfig struct {
		Type   string
		Config map[string]string
	}
	CapAdd         []string
	CapDrop        []string
	DNS            []string `json:"Dns"`
	DNSOptions     []string `json:"DnsOptions"`
	DNSSearch      []string `json:"DnsSearch"`
	ExtraHosts     []string
	GroupAdd       []string
	IpcMode        string
	PidMode        string
	UTSMode        string
	CgroupnsMode   string
	Privileged     bool
	ReadonlyRootfs bool
	SecurityOpt    []string
	Sysctls        map[string]string
	ShmSize        int64
	Runtime        string
	CgroupParent   string
	Memory         int64
	MemorySwap     int64
	NanoCpus       int64
	CPUShares      uint64 `json:"CpuShares"`
	CpusetCpus     string
	CpusetMems     string
	PidsLimit      *int64
	OomScoreAdj    int
	Init           bool
	Ulimits        []container.Ulimit
	Devices        []container.Device
}

// DetailsGraph is where the root file system lies on the host.
type DetailsGraph struct {
	Name string
	Data map[string]string
}

// DetailsNetwork is the container's place in the network.
type DetailsNetwork struct {
	IPAddress string
	Ports     map[string]any
	Networks  map[string]any
}

// Inspect returns everything there is to know about a container.
func Inspect(ctx context.Context, h *Host, name string) (*Details, error) {
	r, err := h.Containers.Load(name)
	if err != nil {
		return nil, err
	}
	p, err := where(ctx, h, r)
	if err != nil {
		return nil, err
	}
	process, err := configProcess(h, r)
	if err != nil {
		return nil, err
	}
	dir := h.Containers.Dir(r.ID) + "/"
	d := &Details{
		ID: r.ID, Created: r.Created, Path: r.Command[0], Args: r.Command[1:],
		State: details(p), Image: r.Image.ID, ImageName: r.Image.Name, ImageDigest: r.Image.Digest,
		ResolvConfPath: dir + container.ResolvFile, HostnamePath: dir + container.HostnameFile, HostsPath: dir + container.HostsFile,
		Name: r.Name, Driver: "overlay", Platform: "linux", OCIRuntime: r.Runtime.Name, Unit: p.unit,
		AppArmorProfile: appArmorOf(r, p.running(), process.ApparmorProfile),
		Mounts:          detailsMounts(r), Config: detailsConfig(r, process), HostConfig: detailsHost(r),
		NetworkSettings: DetailsNetwork{Ports: map[string]any{}, Networks: map[string]any{}},
		GraphDriver:     detailsGraph(dir, r),
	}
	if r.Log.Driver == "k8s-file" {
		d.LogPath = dir + container.LogFile
	}
	if p.started != nil {
		d.RestartCount = p.started.Restarts
	}
	return d, nil
}

func details(p *place) DetailsState {
	state := p.state()
	d := DetailsState{Status: state, Paused: state == container.Paused, Restarting: state == container.Restarting}
	switch state {
	case container.Running, container.Paused, container.Stopping:
		d.Running = true
		if p.started != nil {
			d.Pid, d.StartedAt, d.CgroupPath = p.started.Pid, p.started.Time, p.started.Cgroup
		}
		zero := 0
		d.ExitCode = &zero // as Docker has it for a container that runs
		if p.exit != nil {
			d.FinishedAt = p.exit.Finished
		}
	case container.Created:
		zero := 0
		d.ExitCode = &zero
	default:
		if e := p.exit; e != nil {
			d.ExitCode, d.OOMKilled, d.Error, d.StartedAt, d.FinishedAt = e.Code, e.OOMKilled, e.Error, e.Started, e.Finished
		}
	}
	return d
}

func detailsMounts(r *container.Record) []DetailsMount {
	list := make([]DetailsMount, 0, len(r.Mounts))
	for _, m := range r.Mounts {
		d := DetailsMount{Type: m.Type, Source: m.Source, Destination: m.Destination, RW: true, Propagation: "rprivate"}
		for _, o := range m.Options {
			switch o {
			case "ro", "readonly", "rro":
				d.RW, d.Mode = false, o
			case "shared", "rshared", "slave", "rslave", "private":
				d.Propagation = o
			}
		}
		list = append(list, d)
	}
	return list
}

func detailsConfig(r *container.Record, p *specs.Process) DetailsConfig {
	s := &r.Spec
	c := DetailsConfig{
		Hostname: bundle.Hostname(s, r.ID), User: s.User, Tty: r.Terminal, OpenStdin: r.OpenStdin,
		Env: p.Env, Cmd: s.Args, Image: r.Image.Name, WorkingDir: p.Cwd, Labels: r.Labels, Annotations: s.Annotations,
		StopSignal: signalName(r.StopSignal), StopTimeout: int(r.StopTimeout / time.Second),
	}
	if s.Entrypoint != nil {
		c.Entrypoint = *s.Entrypoint
	}
	if len(c.Cmd) == 0 && s.Entrypoint == nil {
		c.Cmd = r.Command
	}
	return c
}

func detailsHost(r *container.Record) DetailsHost {
	s := &r.Spec
	d := DetailsHost{
		AutoRemove: r.AutoRemove, NetworkMode: orElse(s.Network, "none"), CapAdd: capNames(s.CapAdd), CapDrop: capNames(s.CapDrop),
		DNS: s.DNS, DNSOptions: s.DNSOptions, DNSSearch: s.DNSSearch, ExtraHosts: s.AddHosts, GroupAdd: s.Groups,
		IpcMode: orElse(s.IPC, "private"), PidMode: orElse(s.PID, "private"), UTSMode: orElse(s.UTS, "private"), CgroupnsMode: orElse(s.Cgroupns, "private"),
		Privileged: s.Privileged, ReadonlyRootfs: s.ReadOnly, SecurityOpt: s.SecurityOpt, Sysctls: s.Sysctls, ShmSize: s.ShmSize,
		Runtime: r.Runtime.Name, CgroupParent: s.Slice, Memory: s.Resources.Memory, MemorySwap: s.Resources.MemorySwap,
		NanoCpus: s.Resources.NanoCPUs, CPUShares: s.Resources.CPUShares, CpusetCpus: s.Resources.CPUSetCPUs, CpusetMems: s.Resources.CPUSetMems,
		PidsLimit: s.Resources.PidsLimit, Init: s.Init, Ulimits: s.Ulimits, Devices: s.Devices,
	}
	if s.OOMScoreAdj != nil {
		d.OomScoreAdj = *s.OOMScoreAdj
	}
	d.RestartPolicy.Name, d.RestartPolicy.MaximumRetryCount = orElse(r.Restart.Name, "no"), r.Restart.MaxRetries
	d.LogConfig.Type, d.LogConfig.Config = r.Log.Driver, r.Log.Options
	for _, m := range r.Mounts {
		if m.Type == "bind" {
			d.Binds = append(d.Binds, m.Source+":"+m.Destination)
		}
	}
	return d
}

// capNames are capabilities as Docker (since 28) and Podman show them.
func capNames(list []string) []string {
	var names []string
	for _, c := range list {
		names = append(names, bundle.CapName(c))
	}
	return names
}

func detailsGraph(dir string, r *container.Record) DetailsGraph {
	if r.Rootfs.Path != "" {
		return DetailsGraph{Name: "directory", Data: map[string]string{"Dir": r.Rootfs.Path}}
	}
	lower := ""
	for i, l := range r.Rootfs.Lower {
		if i > 0 {
			lower += ":"
		}
		lower += l
	}
	return DetailsGraph{Name: "overlay", Data: map[string]string{"LowerDir": lower, "UpperDir": dir + container.UpperDir, "WorkDir": dir + container.WorkDir}}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

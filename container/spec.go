package container

import "time"

// Spec is what a user asked for. Plain data: no default of this machine or of
// the image is filled in. The zero value of a field means "not asked for".
type Spec struct {
	Name       string    `json:"name,omitempty"`
	Image      string    `json:"image,omitempty"`  // reference as the user wrote it; empty with Rootfs
	Rootfs     string    `json:"rootfs,omitempty"` // directory to run instead of an image
	Pull       string    `json:"pull,omitempty"`   // always, missing (default), never, newer
	Platform   string    `json:"platform,omitempty"`
	Entrypoint *[]string `json:"entrypoint,omitempty"` // nil: the image's; empty: none
	Args       []string  `json:"args,omitempty"`       // everything after the image

	Env         []string          `json:"env,omitempty"` // KEY=VALUE in the order given
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`

	User       string   `json:"user,omitempty"` // USER[:GROUP], names or numbers, resolved inside the root file system
	Groups     []string `json:"groups,omitempty"`
	WorkDir    string   `json:"workdir,omitempty"`
	Hostname   string   `json:"hostname,omitempty"`
	Umask      string   `json:"umask,omitempty"`    // octal, default 0022
	Timezone   string   `json:"timezone,omitempty"` // zoneinfo name or "local"
	TTY        bool     `json:"tty,omitempty"`
	OpenStdin  bool     `json:"openStdin,omitempty"` // keep standard input open (-i)
	Init       bool     `json:"init,omitempty"`      // berth-init as PID 1
	AutoRemove bool     `json:"autoRemove,omitempty"`

	StopSignal  string         `json:"stopSignal,omitempty"`  // default: the image's, then SIGTERM
	StopTimeout *time.Duration `json:"stopTimeout,omitempty"` // default 10 s
	Restart     RestartPolicy  `json:"restart,omitzero"`

	Mounts   []Mount  `json:"mounts,omitempty"`
	ReadOnly bool     `json:"readOnly,omitempty"`
	ShmSize  int64    `json:"shmSize,omitempty"` // bytes, default 64 MiB
	Devices  []Device `json:"devices,omitempty"`

	Privileged  bool              `json:"privileged,omitempty"`
	CapAdd      []string          `json:"capAdd,omitempty"`
	CapDrop     []string          `json:"capDrop,omitempty"`
	SecurityOpt []string          `json:"securityOpt,omitempty"` // as docker's --security-opt: seccomp=…, no-new-privileges, mask=…, unmask=…
	Ulimits     []Ulimit          `json:"ulimits,omitempty"`
	Sysctls     map[string]string `json:"sysctls,omitempty"`
	OOMScoreAdj *int              `json:"oomScoreAdj,omitempty"`

	Network    string   `json:"network,omitempty"`  // none, host, container:NAME, ns:PATH
	PID        string   `json:"pid,omitempty"`      // "" (private), host, container:NAME, ns:PATH
	IPC        string   `json:"ipc,omitempty"`      // "" (private), host, none, shareable, container:NAME, ns:PATH
	UTS        string   `json:"uts,omitempty"`      // "" (private), host, container:NAME, ns:PATH
	Cgroupns   string   `json:"cgroupns,omitempty"` // "" (private), host
	DNS        []string `json:"dns,omitempty"`
	DNSSearch  []string `json:"dnsSearch,omitempty"`
	DNSOptions []string `json:"dnsOptions,omitempty"`
	AddHosts   []string `json:"addHosts,omitempty"` // HOST:IP

	Resources Resources `json:"resources,omitzero"`
	Slice     string    `json:"slice,omitempty"` // --slice/--cgroup-parent, default machine-berth.slice

	Log     LogConfig `json:"log,omitzero"`
	Runtime string    `json:"runtime,omitempty"` // name from berth.conf or an absolute path
}

// RestartPolicy is Docker's --restart: "", "no", "on-failure", "always",
// "unless-stopped".
type RestartPolicy struct {
	Name       string `json:"name,omitempty"`
	MaxRetries int    `json:"maxRetries,omitempty"` // on-failure only; 0: no limit
}

// Mount is one -v, --mount or --tmpfs.
type Mount struct {
	Type        string   `json:"type"` // bind, tmpfs
	Source      string   `json:"source,omitempty"`
	Destination string   `json:"destination"`
	Options     []string `json:"options,omitempty"` // OCI mount options: ro, rbind, rprivate, size=…
}

// Device is one --device: a device node of the host inside the container.
type Device struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Access      string `json:"access"` // of r, w, m
}

// Ulimit is one --ulimit. -1 is unlimited.
type Ulimit struct {
	Name string `json:"name"` // nofile, core, … without RLIMIT_
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

// Resources are limits that become properties of the container's unit. The
// zero value of a field sets no limit.
type Resources struct {
	Memory            int64  `json:"memory,omitempty"`            // bytes
	MemorySwap        int64  `json:"memorySwap,omitempty"`        // bytes, memory and swap together; -1 unlimited swap
	MemoryReservation int64  `json:"memoryReservation,omitempty"` // bytes
	NanoCPUs          int64  `json:"nanoCPUs,omitempty"`          // 1e9 is one CPU
	CPUShares         uint64 `json:"cpuShares,omitempty"`         // Docker's 2..262144, 1024 is the default weight
	CPUSetCPUs        string `json:"cpusetCPUs,omitempty"`
	CPUSetMems        string `json:"cpusetMems,omitempty"`
	PidsLimit         *int64 `json:"pidsLimit,omitempty"` // -1 or 0 unlimited; nil: default
}

// LogConfig names a log driver and its options.
type LogConfig struct {
	Driver  string            `json:"driver,omitempty"` // journald (default), k8s-file, none
	Options map[string]string `json:"options,omitempty"`
}

package unit

import (
	"math"
	"os"
	"time"
)

// Infinity is "no limit" for sizes and counts, Forever for times.
const (
	Infinity uint64        = math.MaxUint64
	Forever  time.Duration = math.MaxInt64
)

// Spec is what is wanted of one unit: plain data. The zero value of a field
// leaves the setting to systemd; where zero is itself a setting the field is a
// pointer. Which of the parts apply is decided by the type at the end of Name.
type Spec struct {
	Name         string
	Dependencies Dependencies
	Exec         Exec      // service, socket
	Kill         Kill      // service, socket, scope
	Resources    Resources // service, socket, scope, slice
	Service      Service
	Socket       Socket
	Scope        Scope

	Description            string
	Documentation          []string
	CollectMode            string // inactive-or-failed: forget the unit also when it failed
	DefaultDependencies    *bool
	IgnoreOnIsolate        bool
	StopWhenUnneeded       bool
	SurviveFinalKillSignal bool // not killed by a soft-reboot
	// StartLimitInterval of 0 is no limit on how often the unit is started.
	StartLimitInterval *time.Duration
	StartLimitBurst    uint32
	// ConditionPathExists are files without which a start comes to nothing,
	// and costs the manager no process.
	ConditionPathExists []string

	// Properties is what the fields do not cover. It goes to transient units
	// only, after everything else.
	Properties []Property `json:"-"`
	// Aux are units that the manager loads with this one, so that it can
	// depend on them; they are not started for being here. A socket and the
	// service it starts must share their stem: a transient socket cannot name
	// its service.
	Aux []Spec `json:",omitempty"`
}

// Dependencies are names of other units.
type Dependencies struct {
	Wants, Requires, Requisite, BindsTo, PartOf, Upholds, Conflicts []string
	Before, After, PropagatesStopTo, OnFailure, OnSuccess           []string
	JoinsNamespaceOf, RequiresMountsFor                             []string
}

// Exec is how processes of the unit are made.
type Exec struct {
	Environment                 []string // NAME=VALUE
	PassEnvironment             []string
	WorkingDirectory            string
	User, Group                 string
	UMask                       *uint32
	NoNewPrivileges             *bool
	OOMScoreAdjust              *int32
	Nice                        *int32
	StandardInput               string
	StandardOutput              string
	StandardError               string
	StandardInputFile           *os.File `json:"-"` // transient units only
	StandardOutputFile          *os.File `json:"-"`
	StandardErrorFile           *os.File `json:"-"`
	SyslogIdentifier            string
	LogExtraFields              []string // FIELD=value
	LogNamespace                string
	LogLevelMax                 string // of what the manager says of the unit, too: notice
	LogRateLimitInterval        *time.Duration
	LogRateLimitBurst           *uint32
	LimitNOFILE, LimitCORE      *uint64 // soft and hard
	LimitNPROC, LimitMEMLOCK    *uint64
	LimitSTACK, LimitSIGPENDING *uint64
}

// Kill is how processes of the unit are ended.
type Kill struct {
	Mode        string // control-group, mixed, process, none
	Signal      int
	SendSIGKILL *bool
	SendSIGHUP  *bool
	FinalSignal int
}

// Resources are limits on the unit's cgroup.
type Resources struct {
	Slice               string
	Delegate            *bool
	DelegateControllers []string
	DelegateSubgroup    string
	TasksMax            uint64
	MemoryMin           uint64
	MemoryLow           uint64
	MemoryHigh          uint64
	MemoryMax           uint64
	MemorySwapMax       *uint64
	MemoryZSwapMax      *uint64
	CPUWeight           uint64
	CPUQuota            float64 // in CPUs: 1.5 is one and a half
	CPUQuotaPeriod      time.Duration
	AllowedCPUs         string // 0-3,5
	AllowedMemoryNodes  string
	IOWeight            uint64
	IODeviceWeight      []DeviceLimit
	IOReadBandwidthMax  []DeviceLimit
	IOWriteBandwidthMax []DeviceLimit
	IOReadIOPSMax       []DeviceLimit
	IOWriteIOPSMax      []DeviceLimit
	DevicePolicy        string // auto, closed, strict
	DeviceAllow         []Device
	ManagedOOMMemory    string // ManagedOOMMemoryPressure=
	ManagedOOMSwap      string
	CPUAccounting       *bool
	MemoryAccounting    *bool
	IOAccounting        *bool
	TasksAccounting     *bool
}

// DeviceLimit is a limit on one block device.
type DeviceLimit struct {
	Path  string
	Limit uint64
}

// Device is access to one device node or, by "char-NAME" and "block-NAME", to a
// group of them.
type Device struct {
	Path   string
	Access string // of r, w, m
}

// Service is what only services have.
type Service struct {
	Type            string // notify, exec, simple, …
	ExitType        string
	ExecCondition   []Command
	ExecStartPre    []Command
	ExecStart       []Command
	ExecStartPost   []Command
	ExecReload      []Command
	ExecStop        []Command
	ExecStopPost    []Command
	RemainAfterExit bool
	NotifyAccess    string
	Restart         string
	RestartMode     string // direct: dependents do not see the restart
	//lint:ignore ST1011 it is the setting's name
	RestartSec                  *time.Duration
	RestartForceExitStatus      *ExitStatus
	RestartPreventExitStatus    *ExitStatus
	SuccessExitStatus           *ExitStatus
	TimeoutStart                *time.Duration
	TimeoutStop                 *time.Duration
	RuntimeMax                  time.Duration
	Watchdog                    time.Duration
	FileDescriptorStoreMax      uint32
	FileDescriptorStorePreserve string
	OOMPolicy                   string
	OpenFile                    []OpenFile
}

// Command is a command line, run as it is: neither % nor $ mean anything in it.
type Command struct {
	Path          string // of the executable; empty: Argv[0]
	Argv          []string
	IgnoreFailure bool
}

// ExitStatus is a set of exit statuses and signals.
type ExitStatus struct {
	Status []int32
	Signal []int32
}

// OpenFile is a file that the manager opens for the service.
type OpenFile struct {
	Path     string
	Name     string
	ReadOnly bool
	Graceful bool // its absence is no failure
}

// Socket is what only sockets have. A socket that names no other service
// starts the one of its own stem.
type Socket struct {
	Listen                    []Listen
	FileDescriptorName        string
	Accept                    *bool
	SocketMode                uint32
	DirectoryMode             uint32
	SocketUser                string
	SocketGroup               string
	RemoveOnStop              bool
	Symlinks                  []string
	Backlog                   uint32
	MaxConnections            uint32
	PassCredentials           bool
	PassFileDescriptorsToExec bool
	FlushPending              bool
	TriggerLimitInterval      *time.Duration // 0: no limit
	TriggerLimitBurst         *uint32
	ReusePort                 bool
	FreeBind                  bool
	KeepAlive                 bool
	NoDelay                   bool
	BindIPv6Only              string
	BindToDevice              string
	SocketProtocol            string // udplite, sctp; unit files only
	ExecStartPre              []Command
	ExecStartPost             []Command
	ExecStopPre               []Command
	ExecStopPost              []Command
}

// Listen is one address of a socket unit.
type Listen struct {
	Type    string // Stream, Datagram, SequentialPacket, FIFO, Netlink …
	Address string
}

// Scope is what only scopes have.
type Scope struct {
	PIDs        []uint32
	RuntimeMax  time.Duration
	OOMPolicy   string
	TimeoutStop *time.Duration
}

// Property is a setting in systemd's own words: its name on the bus and a value
// of the Go type that godbus gives the property's signature.
type Property struct {
	Name  string
	Value any
}

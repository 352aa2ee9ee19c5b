package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RecordVersion is the format written by this build; a reader refuses a newer one.
const RecordVersion = 1

// Record is everything needed to run a container: a Spec resolved on this
// machine. It is complete before anything starts and changes only by the verbs
// rename and update.
type Record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // 64 hexadecimal digits
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Spec    Spec      `json:"spec"`

	Image   ImageRef `json:"image,omitzero"`
	Command []string `json:"command"` // entry point and arguments as they are executed
	Rootfs  Rootfs   `json:"rootfs"`
	Runtime Runtime  `json:"runtime"`

	Terminal   bool `json:"terminal,omitempty"`
	OpenStdin  bool `json:"openStdin,omitempty"`
	AutoRemove bool `json:"autoRemove,omitempty"`
	Up         bool `json:"up,omitempty"` // a start needs the engine first: berth-hook up
	// AppArmor is the profile that was asked for, or "unconfined". Empty: berth's
	// own, at each start where the kernel has AppArmor and the profile can be had.
	AppArmor    string            `json:"appArmor,omitempty"`
	StopSignal  int               `json:"stopSignal"`
	StopTimeout time.Duration     `json:"stopTimeout"`
	Restart     RestartPolicy     `json:"restart,omitzero"`
	Log         LogConfig         `json:"log"`
	Mounts      []Mount           `json:"mounts,omitempty"` // as resolved, for inspect
	Labels      map[string]string `json:"labels,omitempty"` // image's and the user's
}

// ImageRef says which image a record was made from.
type ImageRef struct {
	Name   string `json:"name,omitempty"`   // familiar reference, e.g. localhost:5000/nginx:latest
	ID     string `json:"id,omitempty"`     // sha256:… of the image's configuration
	Digest string `json:"digest,omitempty"` // sha256:… of the manifest
}

// Rootfs is the container's root file system. Exactly one of Path and Lower is
// set. The shim mounts it where only the container will see it.
type Rootfs struct {
	Path  string   `json:"path,omitempty"`  // a directory as it is (--rootfs)
	Lower []string `json:"lower,omitempty"` // overlay layers, topmost first
	// The upper and work directories are "upper" and "work" in the
	// container's directory.
}

// Runtime is the OCI runtime of a container.
type Runtime struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Args []string `json:"args,omitempty"` // global arguments before the verb
}

// Files in a container's directory below the store's root.
const (
	RecordFile   = "record.json" // the Record; its presence is the container's existence
	ConfigFile   = "config.json" // the OCI runtime configuration, with CgroupPlaceholder in it
	ExitFile     = "exit.json"   // the Exit of the last run
	LogFile      = "ctr.log"     // log driver k8s-file
	UpperDir     = "upper"
	WorkDir      = "work"
	HostnameFile = "hostname"
	HostsFile    = "hosts"
	ResolvFile   = "resolv.conf"
	RunLink      = "run"       // -> the run directory: container-sweep@NAME.service sees by it whether that is there
	ShimLockFile = "shim.lock" // held by the one shim that supervises the container
)

// Files in a container's run directory below /run. It is the OCI bundle too:
// config.json and rootfs lie in it.
const (
	StartedFile     = "started.json" // the Started of the current run
	StopTimeoutFile = "stop-timeout" // seconds; overrides the record once
	RootfsDir       = "rootfs"       // mount point, empty for everybody outside the container
	RuntimeLogFile  = "runtime.log"  // --log of the OCI runtime, JSON lines
	PidFile         = "pid"
)

// CgroupPlaceholder stands in a stored config.json where the path of the
// container's cgroup belongs. Only the shim knows it, because only it runs in
// the unit: the same record is started by either door.
const CgroupPlaceholder = "/@BERTH-CGROUP@"

// SetCgroup returns a stored config.json with the path of the container's
// cgroup in its place. It parses nothing: a start would feel that. Within a
// string of JSON the quotes of what it looks for cannot be; in a map that a user
// fills (annotations, sysctls) they can, but all of those come before.
func SetCgroup(config []byte, path string) ([]byte, error) {
	const field = `"cgroupsPath":`
	old := []byte(field + `"` + CgroupPlaceholder + `"`)
	i := bytes.LastIndex(config, old)
	if i < 0 {
		return nil, errors.New("set cgroup of container: config.json has no place for it")
	}
	value, err := json.Marshal(path) // a slice's name can have a backslash
	if err != nil {
		return nil, fmt.Errorf("set cgroup of container: %w", err)
	}
	return slices.Concat(config[:i], []byte(field), value, config[i+len(old):]), nil
}

// SetAppArmor returns a stored config.json with the profile of the container's
// process in it. A stored one has none: whether this kernel has AppArmor is known
// at the start. No string in it can look like the place, since quotes in strings
// are escaped.
func SetAppArmor(config []byte, profile string) ([]byte, error) {
	const field = `"process":{`
	i := bytes.Index(config, []byte(field))
	if i < 0 {
		return nil, errors.New("set AppArmor profile of container: config.json has no place for it")
	}
	i += len(field)
	value, err := json.Marshal(profile)
	if err != nil {
		return nil, fmt.Errorf("set AppArmor profile of container: %w", err)
	}
	return slices.Concat(config[:i], []byte(`"apparmorProfile":`), value, []byte(","), config[i:]), nil
}

// ContainerCgroup and ShimCgroup are the two leaves below a unit's cgroup.
const (
	ContainerCgroup = "container"
	ShimCgroup      = "supervisor"
)

// ShimTasks is the supervisor's share of a unit's TasksMax=: it is added to the
// number of processes that a container may have.
const ShimTasks = 64

// Started is what the shim observed when a run began. Kept below /run.
type Started struct {
	Pid        int       `json:"pid"`      // the container's init, in the host's PID namespace
	PidStart   uint64    `json:"pidStart"` // its start time in clock ticks since boot (proc_pid_stat(5), field 22): tells a reused pid
	Time       time.Time `json:"time"`
	Unit       string    `json:"unit"`       // berth-NAME.service or container@NAME.service
	Invocation string    `json:"invocation"` // systemd's invocation ID of the unit
	Cgroup     string    `json:"cgroup"`     // the unit's cgroup, below the cgroup2 mount
	Control    string    `json:"control"`    // path of the control socket
	Restarts   int       `json:"restarts,omitempty"`
}

// Exit is what was observed at the end of a run.
type Exit struct {
	Version    int       `json:"version"`
	Invocation string    `json:"invocation,omitempty"`
	Unit       string    `json:"unit,omitempty"`
	Started    time.Time `json:"started,omitzero"` // zero: the container's init never ran
	Finished   time.Time `json:"finished"`
	Pid        int       `json:"pid,omitempty"`
	// Code is the exit code, 128+n after signal n. nil: nobody observed it.
	Code      *int   `json:"code"`
	Signal    int    `json:"signal,omitempty"`
	OOMKilled bool   `json:"oomKilled,omitempty"`
	Stopped   bool   `json:"stopped,omitempty"` // a stop was asked for
	Error     string `json:"error,omitempty"`   // why it did not start; Code is then 125, 126 or 127
}

// Exit codes of berth itself, as Docker and Podman have them.
const (
	ExitBerth     = 125 // berth failed, the command never ran
	ExitCannotRun = 126 // the command is there and cannot be executed
	ExitNotFound  = 127 // no such command
)

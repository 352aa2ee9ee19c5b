package engine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// Version of berth.
const Version = "0.1.0"

// HostInfo is what info shows.
type HostInfo struct {
	Version        string
	SystemdVersion int
	Kernel         string
	OS             string
	Architecture   string
	Hostname       string
	CPUs           int
	MemTotal       int64
	CgroupVersion  string
	Controllers    []string
	Runtime        string
	Runtimes       map[string]string
	LogDriver      string
	Root           string
	Run            string
	Containers     int
	Running        int
	Stopped        int
	Images         int
	Insecure       []string
	// SecurityOptions are what confines a container that asks for nothing.
	SecurityOptions []string
}

// Info describes this machine as berth sees it.
func Info(ctx context.Context, h *Host) (*HostInfo, error) {
	i := &HostInfo{
		Version: Version, Architecture: runtime.GOARCH, CPUs: runtime.NumCPU(), CgroupVersion: "v2",
		Runtime: h.Config.Runtime, Runtimes: h.Config.Runtimes, LogDriver: h.Config.LogDriver,
		Root: h.Config.Root, Run: h.Config.Run, Insecure: h.Config.Insecure,
	}
	i.SecurityOptions = securityOptions()
	i.Hostname, _ = os.Hostname()
	i.OS = prettyOS()
	i.MemTotal = memTotal()
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		i.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	i.Controllers, _ = controllers()
	conn, err := h.Units(ctx)
	if err != nil {
		return nil, err
	}
	if i.SystemdVersion, err = conn.Version(ctx); err != nil {
		return nil, err
	}
	list, err := List(ctx, h)
	if err != nil && list == nil {
		return nil, err
	}
	i.Containers = len(list)
	for _, s := range list {
		if s.State == container.Running {
			i.Running++
		} else {
			i.Stopped++
		}
	}
	store, err := h.Images()
	if err != nil {
		return nil, err
	}
	images, err := store.List()
	i.Images = len(images)
	return i, err
}

func prettyOS() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}

func memTotal() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 2 {
		return 0
	}
	kb, _ := strconv.ParseInt(f[1], 10, 64)
	return kb << 10
}

// RuntimePath is where the OCI runtime of a name is.
func RuntimePath(h *Host, name string) (string, error) {
	r, err := findRuntime(h, name)
	return filepath.Clean(r.Path), err
}

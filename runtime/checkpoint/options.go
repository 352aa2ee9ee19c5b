package checkpoint

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

// Options are what checkpoint and restore have in common.
type Options struct {
	ImagePath string // the image's directory
	WorkPath  string // where CRIU's log goes, the image's directory if empty

	LeaveRunning    bool // checkpoint: the container goes on
	TCPEstablished  bool
	TCPSkipInFlight bool
	ExtUnixSk       bool
	LinkRemap       bool
	ShellJob        bool
	FileLocks       bool
	LazyPages       bool
	AutoDedup       bool
	ManageCgroups   string   // soft (the default), full, strict, ignore
	EmptyNS         []string // namespaces whose content is not kept: network

	ParentPath string   // checkpoint: an earlier pre-dump, below the image's directory
	PreDump    bool     // checkpoint: the memory alone; the container goes on
	PageServer string   // checkpoint: ADDRESS:PORT that pages are sent to
	Status     *os.File // checkpoint with LazyPages: a zero is written when pages can be had

	LSMProfile      string // restore: TYPE:NAME
	LSMMountContext string // restore
}

var cgroupModes = map[string]rpc.CriuCgMode{
	"": rpc.CriuCgMode_SOFT, "soft": rpc.CriuCgMode_SOFT, "full": rpc.CriuCgMode_FULL,
	"strict": rpc.CriuCgMode_STRICT, "ignore": rpc.CriuCgMode_IGNORE,
}

// request translates what both operations have in common.
func (o *Options) request() (*rpc.CriuOpts, error) {
	mode, ok := cgroupModes[o.ManageCgroups]
	if !ok {
		return nil, fmt.Errorf("manage cgroups mode %q: unknown", o.ManageCgroups)
	}
	r := &rpc.CriuOpts{
		LogLevel:          new(int32(4)),
		LeaveRunning:      &o.LeaveRunning,
		TcpEstablished:    &o.TCPEstablished,
		ExtUnixSk:         &o.ExtUnixSk,
		LinkRemap:         &o.LinkRemap,
		ShellJob:          &o.ShellJob,
		FileLocks:         &o.FileLocks,
		LazyPages:         &o.LazyPages,
		AutoDedup:         &o.AutoDedup,
		EvasiveDevices:    new(true),
		OrphanPtsMaster:   new(true),
		NotifyScripts:     new(true),
		ManageCgroups:     new(mode != rpc.CriuCgMode_IGNORE), // for CRIU below 2.0's names
		ManageCgroupsMode: &mode,
	}
	if o.TCPSkipInFlight {
		r.TcpSkipInFlight = new(true)
	}
	// CRIU's default needs a program that is not everywhere any more; the other
	// way, by a library of its own, it has since 3.16.
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		r.NetworkLock = new(rpc.CriuNetworkLockMethod_NFTABLES)
	}
	var empty uint32
	for _, ns := range o.EmptyNS {
		if ns != "network" {
			return nil, &runtime.UnsupportedError{Feature: "empty namespace " + ns}
		}
		empty |= unix.CLONE_NEWNET
	}
	if empty != 0 {
		r.EmptyNs = &empty
	}
	return r, nil
}

// pageServer reads ADDRESS:PORT.
func pageServer(s string) (*rpc.CriuPageServerInfo, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // none was asked for
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		return nil, fmt.Errorf("page server %q: want an address and a port", s)
	}
	return &rpc.CriuPageServerInfo{Address: new(a.Addr().String()), Port: new(int32(a.Port()))}, nil
}

// parent makes an earlier image's path one that CRIU accepts: relative to the
// image's directory, and inside of the same parent.
func parent(p string) (*string, error) {
	if p == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	if strings.HasPrefix(p, "/") {
		return nil, fmt.Errorf("parent path %q: want a path relative to the image path", p)
	}
	return &p, nil
}

package unit

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// A Feature is something that not every supported systemd has.
type Feature struct {
	Name  string
	Needs int // first version
}

// Features that are not settings of the table.
var (
	// RestartDirect: RestartMode=direct, a restart that dependents do not see.
	RestartDirect = Feature{"RestartMode=direct", 254}
	// StorePreserve: the descriptor store can outlive a stop of the unit.
	StorePreserve = Feature{"FileDescriptorStorePreserve=", 254}
	// DelegateSubgroup: the main process is put into a subgroup.
	DelegateSubgroup = Feature{"DelegateSubgroup=", 254}
	// ExtraFileDescriptors: a transient unit can be given descriptors.
	ExtraFileDescriptors = Feature{"ExtraFileDescriptors", 257}
	// MainPIDFD: MAINPIDFD=1 in notifications.
	MainPIDFD = Feature{"MAINPIDFD=", 257}
	// ScopePIDFDs: scopes can be made of pidfds.
	ScopePIDFDs = Feature{"PIDFDs", 255}
	// VarlinkStart: StartTransient over Varlink.
	VarlinkStart = Feature{"io.systemd.Unit.StartTransient", 261}
)

// In says whether a manager of this version has the feature.
func (f Feature) In(version int) bool { return version >= f.Needs }

// Check is an UnsupportedError where the version does not have the feature.
func (f Feature) Check(version int) error {
	if f.In(version) {
		return nil
	}
	return &UnsupportedError{f.Name, f.Needs, version}
}

// Version is the manager's version: 257 of "257.9-1~deb13u1". It was asked for
// when the connection was made, and costs no round trip of its own.
func (c *Conn) Version(ctx context.Context) (int, error) {
	body, err := c.await(ctx, c.version)
	if err != nil {
		return 0, opError("read version of systemd", "", err)
	}
	v, _ := first[dbus.Variant](body)
	s, _ := v.Value().(string)
	n, err := parseVersion(s)
	return n, opError("read version of systemd", "", err)
}

// knownVersion is the version if the answer is here, and 0 otherwise.
func (c *Conn) knownVersion() int {
	select {
	case <-c.version.done:
		n, _ := c.Version(context.Background())
		return n
	default:
		return 0
	}
}

func parseVersion(s string) (int, error) {
	digits := s
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = s[:i]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("bad version %q", s)
	}
	return n, nil
}

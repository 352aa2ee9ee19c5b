package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newTime makes the time namespace of the thread's children: of the init. Its
// offsets have to be written before the first process is in it.
func (l *launch) newTime() error {
	if l.ns.fresh&unix.CLONE_NEWTIME == 0 {
		return nil
	}
	err := unix.Unshare(unix.CLONE_NEWTIME)
	if err == unix.EINVAL {
		return &UnsupportedError{Feature: "time namespace", Needs: "a kernel with CONFIG_TIME_NS"}
	}
	if err != nil {
		return fmt.Errorf("unshare time namespace: %w", err)
	}
	var b strings.Builder
	for clock, off := range l.spec.Linux.TimeOffsets {
		fmt.Fprintf(&b, "%s %d %d\n", clock, off.Secs, off.Nanosecs)
	}
	if b.Len() == 0 {
		return nil
	}
	// By the thread's own id: /proc/thread-self has no such file.
	return writeFile("/proc/"+strconv.Itoa(unix.Gettid())+"/timens_offsets", b.String())
}

// checkTime checks linux.timeOffsets.
func checkTime(s *specs.Spec) error {
	if len(s.Linux.TimeOffsets) == 0 {
		return nil
	}
	fresh := false
	for _, ns := range s.Linux.Namespaces {
		fresh = fresh || ns.Type == specs.TimeNamespace && ns.Path == ""
	}
	if !fresh {
		return errors.New("timeOffsets need a new time namespace")
	}
	for clock := range s.Linux.TimeOffsets {
		if clock != "monotonic" && clock != "boottime" {
			return fmt.Errorf("timeOffsets: unknown clock %q", clock)
		}
	}
	return nil
}

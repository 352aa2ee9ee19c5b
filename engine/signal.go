package engine

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ParseSignal takes a signal by name, with or without SIG, or by number.
// Real-time signals are RTMIN+N and RTMAX-N.
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return 0, fmt.Errorf("signal %q: must be 1 to 64", s)
		}
		return syscall.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum("SIG" + name); sig != 0 {
		return sig, nil
	}
	const rtmin, rtmax = 34, 64 // glibc keeps 32 and 33 for itself
	for prefix, base := range map[string]int{"RTMIN": rtmin, "RTMAX": rtmax} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			n := 0
			if rest != "" {
				var err error
				if n, err = strconv.Atoi(rest); err != nil {
					break
				}
			}
			if v := base + n; v >= rtmin && v <= rtmax {
				return syscall.Signal(v), nil
			}
		}
	}
	return 0, fmt.Errorf("signal %q: no such signal: see signal(7)", s)
}

// signalName is a signal's name as Docker and Podman print it.
func signalName(n int) string {
	if name := unix.SignalName(syscall.Signal(n)); name != "" {
		return name
	}
	return strconv.Itoa(n)
}

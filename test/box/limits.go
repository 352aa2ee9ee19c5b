package main

import "golang.org/x/sys/unix"

// freshLimits sets the limits that the first process of a machine has, whatever this process was started with: daemons
// in the box go by these, and tests compare them. Without CAP_SYS_RESOURCE a hard limit only goes down.
func freshLimits() error {
	for resource, want := range map[int]unix.Rlimit{
		unix.RLIMIT_NOFILE: {Cur: 1024, Max: 524288}, // Max as systemd has it since version 240
		unix.RLIMIT_CORE:   {Cur: 0, Max: unix.RLIM_INFINITY},
		unix.RLIMIT_STACK:  {Cur: 8 << 20, Max: unix.RLIM_INFINITY},
	} {
		if err := unix.Setrlimit(resource, &want); err == nil {
			continue
		}
		var have unix.Rlimit
		if err := unix.Getrlimit(resource, &have); err != nil {
			return err
		}
		want.Max = min(want.Max, have.Max)
		want.Cur = min(want.Cur, want.Max)
		if err := unix.Setrlimit(resource, &want); err != nil {
			return err
		}
	}
	return nil
}

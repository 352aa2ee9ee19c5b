// Package nofile knows the limit of open files that this process was started
// with.
//
// Go's package os raises the soft limit when it is initialised and puts it back
// only for children that os and syscall start. This package imports nothing that
// os does not, so that it is initialised first: Go initialises ready packages in
// the order of their paths (language specification, "Program initialization",
// since Go 1.21), and this one's begins before "os".
package nofile

import "syscall"

var atStart = get()

func get() syscall.Rlimit {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return syscall.Rlimit{}
	}
	return r
}

// AtStart is the limit before Go raised it; zero where it is not known.
func AtStart() syscall.Rlimit { return atStart }

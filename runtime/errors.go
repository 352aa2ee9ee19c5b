package runtime

import (
	"errors"
	"fmt"
)

// What callers branch on.
var (
	ErrNotExist     = errors.New("container does not exist")
	ErrExists       = errors.New("container with given ID already exists")
	ErrNotSupported = errors.New("not supported here")
	ErrStopped      = errors.New("container not running")
	ErrState        = errors.New("container is in the wrong state")
	ErrInvalidID    = errors.New("invalid container ID")
	// ErrNotFound and ErrNotExecutable are the two ways in which a container's
	// command cannot be run; a shell's 127 and 126.
	ErrNotFound      = errors.New("executable file not found in $PATH")
	ErrNotExecutable = errors.New("permission denied")
)

// UnsupportedError says that a field of the configuration asks for something
// that this kernel or this version cannot do.
type UnsupportedError struct {
	Feature string
	Needs   string
}

func (e *UnsupportedError) Error() string {
	if e.Needs == "" {
		return e.Feature + ": not supported here"
	}
	return e.Feature + ": not supported here: needs " + e.Needs
}

// Is makes errors.Is(err, ErrNotSupported) true.
func (e *UnsupportedError) Is(target error) bool { return target == ErrNotSupported }

// WarningError is what went wrong beside an operation that has succeeded: the
// lifecycle goes on as if it had not.
type WarningError struct{ Err error }

func (e *WarningError) Error() string { return e.Err.Error() }
func (e *WarningError) Unwrap() error { return e.Err }

// execError is a command that cannot be run, worded as os/exec words it, since
// engines read it.
type execError struct {
	name string
	err  error // ErrNotFound, ErrNotExecutable or the kernel's
}

func (e *execError) Error() string {
	name := e.name
	if len(name) > 1024 {
		name = name[:1024] + "..." // who made it up need not read it again
	}
	return fmt.Sprintf("exec: %q: %v", name, e.err)
}

func (e *execError) Unwrap() error { return e.err }

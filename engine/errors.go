package engine

import (
	"errors"

	"github.com/berthrun/berth/container"
)

// StartError is a container or a process in one that could not be started.
type StartError struct {
	Code int    // 125 berth's failure, 126 not executable, 127 not found
	Name string // of the container
	Told bool   // the OCI runtime has said so on the process's standard error
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }

func (e *StartError) Unwrap() error { return e.Err }

// ErrNotRunning is what verbs say that need a running container.
var ErrNotRunning = errors.New("container is not running")

// ExitCode is what a command ends with after err: 0 for nil, 126 and 127 where
// the container's command could not be run, else 125.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var se *StartError
	if errors.As(err, &se) {
		return se.Code
	}
	return container.ExitBerth
}

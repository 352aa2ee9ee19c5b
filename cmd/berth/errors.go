package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
	"github.com/berthrun/berth/unit"
)

// status ends the process with this code, silently: what there is to say has
// been said, or a container's own exit code is passed on.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// codedError is an error with an exit code that its verb promises: rm and rmi
// tell apart what was not there (1) and what is in use (2).
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usageError is a command line that cannot be understood.
type usageError struct {
	verb string // "run", "image ls"; empty: berth itself
	err  error
}

func (e *usageError) Error() string {
	if e.verb == "" {
		return e.err.Error()
	}
	return e.verb + ": " + e.err.Error()
}
func (e *usageError) Unwrap() error { return e.err }

// usagef makes the error of a command line. The verb is filled in by app.run.
func usagef(format string, a ...any) error {
	return &usageError{err: fmt.Errorf(format, a...)}
}

// interrupted replaces the error of a verb that was ended by a signal: the exit
// code tells, and who sent it knows.
func interrupted(ctx context.Context, err error) error {
	var sig signalError
	if errors.As(context.Cause(ctx), &sig) && errors.Is(err, context.Canceled) {
		return status(128 + int(sig.sig))
	}
	return err
}

// writeError is the failure to write a result.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write output: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func outputError(err error) error { return &writeError{err} }

// exitCode is the one place that turns an error into an exit code.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var s status
	if errors.As(err, &s) {
		return int(s)
	}
	if errors.Is(err, syscall.EPIPE) {
		return 128 + int(syscall.SIGPIPE)
	}
	var list failures
	if errors.As(err, &list) {
		return list.code()
	}
	var c *codedError
	if errors.As(err, &c) {
		return c.code
	}
	return engine.ExitCode(err)
}

// failures are those of a verb that was given several names, one each.
type failures []error

func (f failures) Error() string {
	return fmt.Sprintf("%v (and %d more)", f[0], len(f)-1)
}

// apart makes failures of errors that were joined, for a line each.
func apart(err error) error {
	var list failures
	var add func(error)
	add = func(err error) {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || !strings.Contains(err.Error(), "\n") { // not of errors.Join
			list = append(list, err)
			return
		}
		for _, e := range joined.Unwrap() {
			add(e)
		}
	}
	if err == nil {
		return nil
	}
	add(err)
	return list.err()
}

// code is theirs when they agree, otherwise 125, except that 2 (in use) counts
// more than 1 (not there), as in podman-rm(1).
func (f failures) code() int {
	code := 0
	for _, err := range f {
		c := exitCode(err)
		switch {
		case code == 0 || c == code:
			code = c
		case code+c == 3: // 1 and 2
			code = 2
		default:
			return container.ExitBerth
		}
	}
	return code
}

// report prints err, a line for each failure in it, and returns the exit code.
func report(w io.Writer, err error) int {
	code := exitCode(err)
	var s status
	if err == nil || errors.As(err, &s) || errors.Is(err, syscall.EPIPE) {
		return code
	}
	var start *engine.StartError
	if errors.As(err, &start) && start.Told {
		return code
	}
	var list failures
	if errors.As(err, &list) {
		for _, e := range list {
			report(w, e)
		}
		return code
	}
	fmt.Fprintln(w, "Error: "+oneLine(err.Error())+advice(err))
	return code
}

// warn says something that stops nothing.
func warn(w io.Writer, format string, a ...any) {
	fmt.Fprintln(w, "Warning: "+oneLine(fmt.Sprintf(format, a...)))
}

// advice is what to do about err, where that is known here and err does not say
// it itself.
func advice(err error) string {
	var w *writeError
	if errors.Is(err, syscall.ENOSPC) && !errors.As(err, &w) {
		return ": make room, e.g. by berth image prune"
	}
	if errors.Is(err, image.ErrUnauthorized) {
		return ": check the name, or give berth pull --creds=USER:PASSWORD"
	}
	if errors.Is(err, container.ErrDamaged) {
		return ": berth rm -f takes such a container away"
	}
	if os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unit.ErrPermission)) {
		return ": run it as root"
	}
	return ""
}

// oneLine keeps control characters of names, paths and registries' answers off
// the terminal and the message on one line.
func oneLine(s string) string {
	s = strings.TrimRight(s, "\n")
	s = strings.ReplaceAll(s, "\n", "; ")
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return '?'
		}
		return r
	}, s)
}

package unit

import (
	"errors"
	"fmt"
)

// What callers branch on, with errors.Is.
var (
	// ErrNoSystemd: no manager answers where one is expected.
	ErrNoSystemd = errors.New("no systemd")
	// ErrExists: the name is taken by a loaded unit or by a unit file.
	ErrExists = errors.New("unit already exists")
	// ErrNotExist: no such unit is loaded, nor can it be.
	ErrNotExist = errors.New("no such unit")
	// ErrPermission: the manager refuses this caller.
	ErrPermission = errors.New("permission denied")
	// ErrNotSupported: this manager is too old for what was asked.
	ErrNotSupported = errors.New("not supported by this systemd")
	// ErrDisconnected: the manager closed the connection, as it does at
	// daemon-reexec, or it has been closed by us.
	ErrDisconnected = errors.New("connection to systemd is closed")
)

// Error is a failed operation on one unit.
type Error struct {
	Op     string // start, stop, kill, …
	Unit   string
	Result string // of the job, where the operation got as far as one
	Err    error  // what stopped it; nil where Result says it all
}

func (e *Error) Error() string {
	s := e.Op + " unit " + e.Unit
	if e.Unit == "" {
		s = e.Op
	}
	if e.Result != "" {
		s += ": job " + e.Result
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// opError gives err its operation and object, once.
func opError(op, unit string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Unit: unit, Err: err}
}

// BusError is an error that the peer answered with.
type BusError struct {
	Name    string // org.freedesktop.systemd1.NoSuchUnit, …
	Message string
}

func (e *BusError) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// busSentinels says which of our sentinels a D-Bus error name means.
var busSentinels = map[string]error{
	"org.freedesktop.systemd1.NoSuchUnit":                         ErrNotExist,
	"org.freedesktop.systemd1.UnitExists":                         ErrExists,
	"org.freedesktop.DBus.Error.AccessDenied":                     ErrPermission,
	"org.freedesktop.DBus.Error.AuthFailed":                       ErrPermission,
	"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": ErrPermission,
	"org.freedesktop.DBus.Error.UnknownMethod":                    ErrNotSupported,
	"org.freedesktop.DBus.Error.UnknownProperty":                  ErrNotSupported,
	"org.freedesktop.DBus.Error.UnknownInterface":                 ErrNotSupported,
	"org.freedesktop.DBus.Error.ServiceUnknown":                   ErrNoSystemd,
	"org.freedesktop.DBus.Error.NameHasNoOwner":                   ErrNoSystemd,
}

// Is reports whether e is the bus's way to say target.
func (e *BusError) Is(target error) bool {
	s, ok := busSentinels[e.Name]
	return ok && s == target
}

// UnsupportedError is something that needs a newer systemd. It is
// ErrNotSupported for errors.Is.
type UnsupportedError struct {
	Feature string // RestartMode=, …
	Needs   int    // the first version that has it
	Have    int    // 0 where the version is not known
}

func (e *UnsupportedError) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("%s needs systemd %d or newer", e.Feature, e.Needs)
	}
	return fmt.Sprintf("%s needs systemd %d or newer, this is %d", e.Feature, e.Needs, e.Have)
}

// Is makes every UnsupportedError an ErrNotSupported.
func (e *UnsupportedError) Is(target error) bool { return target == ErrNotSupported }

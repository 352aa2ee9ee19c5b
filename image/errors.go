package image

import (
	"errors"
	"fmt"
)

// What callers branch on. Match with errors.Is.
var (
	ErrNotExist     = errors.New("no such image")
	ErrAmbiguous    = errors.New("more than one image matches")
	ErrInUse        = errors.New("image is in use")
	ErrBadReference = errors.New("invalid reference")
	ErrCorrupt      = errors.New("content does not match its digest")
	ErrNoPlatform   = errors.New("no image for the platform")
	ErrUnauthorized = errors.New("access denied")
	ErrUnknown      = errors.New("registry has no such image")
	ErrUnreachable  = errors.New("registry is unreachable")
	ErrPlainHTTP    = errors.New("registry speaks plain HTTP")
	ErrNotImage     = errors.New("not a container image")
	ErrUnsupported  = errors.New("unsupported format")
	ErrLean         = errors.New("built without registries and compression") // see Whole
)

// A RegistryError is a failure of, or on the way to, a registry. Err is what
// it was; Kind one of ErrUnauthorized, ErrUnknown, ErrUnreachable,
// ErrPlainHTTP, or nil.
type RegistryError struct {
	Op   string // "pull"
	Ref  string // the image as the user named it
	Text string // cause, and what to do about it
	Kind error
	Err  error
}

func (e *RegistryError) Error() string { return fmt.Sprintf("%s %s: %s", e.Op, e.Ref, e.Text) }

// Unwrap gives errors.Is both the kind and the cause.
func (e *RegistryError) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

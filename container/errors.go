package container

import "errors"

// What callers branch on.
var (
	ErrNotExist  = errors.New("no such container")
	ErrExists    = errors.New("name is in use")
	ErrAmbiguous = errors.New("more than one container has an ID that begins so")
	ErrInUse     = errors.New("in use")
	ErrDamaged   = errors.New("is damaged")
)

package container

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// NewID returns a random container ID: 64 hexadecimal digits, never all
// decimal in its first twelve, so that a short ID used as a hostname is no number.
func NewID() string {
	var b [32]byte
	for {
		rand.Read(b[:]) // never fails since Go 1.24
		id := hex.EncodeToString(b[:])
		if !decimal(id[:12]) {
			return id
		}
	}
}

func decimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// MaxName keeps the control socket of container@NAME, /run/berth/ctl@/NAME,
// within the 107 bytes that the address of a socket may have (unix(7)).
const MaxName = 90

// CheckName says whether a container may be called name: [a-zA-Z0-9][a-zA-Z0-9_.-]*.
// Every such name is a valid part of a unit name without escaping, and none
// contains '@', which the helper units' names do.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > MaxName {
		return fmt.Errorf("container name %q: must have 1 to %d characters", name, MaxName)
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return fmt.Errorf("container name %q: must match [a-zA-Z0-9][a-zA-Z0-9_.-]*", name)
		}
	}
	return nil
}

// isID says whether s is a full container ID.
func isID(s string) bool {
	return len(s) == 64 && isHex(s)
}

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

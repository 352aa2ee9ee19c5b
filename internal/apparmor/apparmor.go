// Package apparmor says what the kernel's AppArmor has: whether it is on, and
// which profiles are loaded. It loads none.
package apparmor

import (
	"bytes"
	"os"
	"strings"
)

const (
	// Default is the profile of containers that ask for none.
	Default = "berth-default"
	// Unconfined asks for no profile.
	Unconfined = "unconfined"
)

// kernel is where the kernel tells.
type kernel struct{ enabled, profiles string }

func linux() kernel {
	return kernel{"/sys/module/apparmor/parameters/enabled", "/sys/kernel/security/apparmor/profiles"}
}

// Enabled says whether the kernel has AppArmor and uses it. Where it does not
// have it that costs an open(2) that fails.
func Enabled() bool { return linux().on() }

// Loaded says whether the kernel knows a profile. Of what is more than a name (a
// stack, a profile in a namespace) it says yes: only the kernel can tell.
func Loaded(name string) bool { return linux().loaded(name) }

func (k kernel) on() bool {
	b, err := os.ReadFile(k.enabled)
	return err == nil && bytes.HasPrefix(b, []byte("Y"))
}

func (k kernel) loaded(name string) bool {
	if strings.HasPrefix(name, ":") || strings.Contains(name, "&") {
		return true
	}
	list, err := os.ReadFile(k.profiles)
	if err != nil {
		return false
	}
	// A line is NAME (MODE), and a name can have spaces and parentheses.
	for line := range bytes.Lines(list) {
		if i := bytes.LastIndex(line, []byte(" (")); i >= 0 && string(line[:i]) == name {
			return true
		}
	}
	return false
}

// Parser is the path of apparmor_parser, which loads profiles, or "". What is
// executed by root is not looked for in a PATH that a user has set.
func Parser() string {
	for _, path := range []string{"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

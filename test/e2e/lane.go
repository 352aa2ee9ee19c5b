package e2e

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// Env is the lane that a test runs in.
type Env struct {
	Name    string
	VM      bool // a kernel of its own, with all cgroup controllers
	Systemd int  // version
}

// Lane returns the lane; a test outside of one is skipped.
func Lane(t testing.TB) Env {
	t.Helper()
	name := os.Getenv("BERTH_LANE")
	if name == "" {
		t.Skip("needs a lane: test/bin/lane box257")
	}
	kind := strings.TrimRight(name, "0123456789")
	version, err := strconv.Atoi(name[len(kind):])
	if err != nil || kind != "box" && kind != "vm" && kind != "vmfull" {
		t.Fatalf("bad BERTH_LANE %q", name)
	}
	return Env{Name: name, VM: kind != "box", Systemd: version}
}

// Product is Lane for tests of the product itself.
func Product(t testing.TB) Env {
	t.Helper()
	l := Lane(t)
	if os.Getenv("BERTH_PRODUCT") == "" {
		t.Skip("needs the product: make install DESTDIR=dist/root")
	}
	return l
}

package engine

import (
	"testing"

	"github.com/berthrun/berth/unit"
)

// A verb that is done with systemd leaves the connection to those that are not.
func TestHold(t *testing.T) {
	h := &Host{conn: new(unit.Conn)}
	first, second := h.Hold(), h.Hold()
	first()
	first()
	if err := h.Close(); err != nil || h.conn == nil {
		t.Errorf("closed under who holds it: %v", err)
	}
	second()
	if h.shared != 0 {
		t.Errorf("held by %d after the last release", h.shared)
	}
}

package early

import (
	"strings"
	"testing"
)

func TestStarts(t *testing.T) {
	for line, want := range map[string]bool{
		"": false, "berth": false, "berth run": true, "berth run --rm busybox true": true, "berth container start web": true,
		"berth --root run": true, "berth ps": false, "berth exec web run": false,
	} {
		if got := starts(strings.Fields(line)); got != want {
			t.Errorf("%q: got %v", line, got)
		}
	}
}

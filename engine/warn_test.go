package engine

import (
	"runtime"
	"testing"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/image"
)

// What cannot hold is said, and nothing else is.
func TestWarnings(t *testing.T) {
	for arch, want := range map[string]bool{"": false, runtime.GOARCH: false, "pdp11": true} {
		img := new(image.Image)
		img.Config.OS, img.Config.Architecture = "linux", arch
		if got := foreign("a", img); (got != "") != want {
			t.Errorf("image for %q: got %q", arch, got)
		}
	}
	for p, want := range map[container.RestartPolicy]bool{
		{}:                                  false,
		{Name: "always"}:                    false,
		{Name: "on-failure"}:                false,
		{Name: "on-failure", MaxRetries: 2}: true,
	} {
		if got := unmetRestart(p); (len(got) > 0) != want {
			t.Errorf("%+v: got %q", p, got)
		}
	}
}

package bundle

import (
	"testing"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/ocijson"
)

func BenchmarkConfig(b *testing.B) {
	in := &Input{Spec: &container.Spec{}, ID: container.NewID(), Dir: "/x", Image: &ispec.ImageConfig{}, Command: []string{"true"}}
	for b.Loop() {
		c, err := Config(in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ocijson.Encode(c); err != nil {
			b.Fatal(err)
		}
	}
}

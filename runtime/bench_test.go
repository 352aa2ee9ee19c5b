package runtime

import (
	"encoding/json"
	"os"
	"testing"
)

func BenchmarkLoadSpec(b *testing.B) {
	doc, err := json.Marshal(DefaultSpec())
	if err != nil {
		b.Fatal(err)
	}
	if f := os.Getenv("BERTH_CONFIG"); f != "" {
		if doc, err = os.ReadFile(f); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s, err := LoadSpec(doc)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := compileSeccomp(s.Linux.Seccomp); err != nil {
			b.Fatal(err)
		}
	}
}

package unit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProperty(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Property
	}{
		{"KillSignal", "15", Property{"KillSignal", int32(15)}},
		{"TimeoutStopUSec", "uint64 5", Property{"TimeoutStopUSec", uint64(5)}},
		{"TimeoutStopSec", "uint64 5", Property{"TimeoutStopUSec", uint64(5000000)}},
		{"TimeoutStopSec", "1.5", Property{"TimeoutStopUSec", uint64(1500000)}},
		{"CollectMode", "'inactive-or-failed'", Property{"CollectMode", "inactive-or-failed"}},
		{"Delegate", "true", Property{"Delegate", true}},
		{"Before", "['a.service', 'b.service']", Property{"Before", []string{"a.service", "b.service"}}},
	} {
		got, err := ParseProperty(c.name, c.text)
		if err != nil {
			t.Errorf("%s=%s: %v", c.name, c.text, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s=%s: %s", c.name, c.text, d)
		}
	}
	for _, text := range []string{"", "uint64", "'", "no", "[1,'a']"} {
		if got, err := ParseProperty("X", text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	for _, text := range []string{"'5'", "-1", "1e30"} {
		if got, err := ParseProperty("XSec", text); err == nil {
			t.Errorf("XSec=%s: %v", text, got)
		}
	}
}

func FuzzParseProperty(f *testing.F) {
	for _, s := range []string{"uint64 5", "'x'", "[1, 2]", "{'a': <1>}", "true", "@as []"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ParseProperty("XSec", text)
	})
}

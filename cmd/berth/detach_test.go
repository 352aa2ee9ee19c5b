package main

import (
	"bytes"
	"testing"
)

func TestParseDetachKeys(t *testing.T) {
	for s, want := range map[string]string{
		"ctrl-p,ctrl-q": "\x10\x11", "": "", "a": "a", "a,b,c": "abc", "ctrl-@": "\x00", "ctrl-[": "\x1b", "ctrl-\\": "\x1c",
		"ctrl-]": "\x1d", "ctrl-^": "\x1e", "ctrl-_": "\x1f", "CTRL-A,x": "\x01x",
	} {
		if got, err := parseDetachKeys(s); string(got) != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"ctrl-", "ctrl-1", "ab", "a,", ",", "ctrl-pp", "alt-x", "ä"} {
		if got, err := parseDetachKeys(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, got)
		}
	}
}

func TestDetacher(t *testing.T) {
	for _, tt := range []struct {
		keys  string
		typed []string // one read each
		pass  string
		found bool
		rest  string
	}{
		{"PQ", []string{"abc"}, "abc", false, ""},
		{"PQ", []string{"abPQcd"}, "ab", true, ""},
		{"PQ", []string{"aP", "Qb"}, "a", true, ""},
		{"PQ", []string{"aP", "b"}, "aPb", false, ""},
		{"PQ", []string{"PPQ"}, "P", true, ""},
		{"PQ", []string{"PP", "P", "x"}, "PPPx", false, ""},
		{"PQ", []string{"P"}, "", false, "P"},
		{"AAB", []string{"AAAB"}, "A", true, ""},
		{"ABAC", []string{"ABABAC"}, "AB", true, ""},
		{"ABAC", []string{"ABAB"}, "AB", false, "AB"},
		{"A", []string{"xA"}, "x", true, ""},
		{"", []string{"PQ"}, "PQ", false, ""},
	} {
		d := &detacher{keys: []byte(tt.keys)}
		var pass []byte
		found := false
		for _, s := range tt.typed {
			var p []byte
			p, found = d.feed([]byte(s))
			pass = append(pass, p...)
		}
		if rest := string(d.rest()); string(pass) != tt.pass || found != tt.found || rest != tt.rest {
			t.Errorf("%s %q: got %q, %v, %q, want %q, %v, %q", tt.keys, tt.typed, pass, found, rest, tt.pass, tt.found, tt.rest)
		}
	}
}

// What is typed comes through unchanged up to the first occurrence of the keys,
// however it is cut into reads.
func FuzzDetacher(f *testing.F) {
	f.Add([]byte("PQ"), []byte("aPPQb"), 2)
	f.Add([]byte("ABABAC"), []byte("ABABABAC"), 1)
	f.Fuzz(func(t *testing.T, keys, typed []byte, step int) {
		if len(keys) == 0 || len(keys) > 16 || step < 1 {
			t.Skip()
		}
		want, _, wantFound := bytes.Cut(typed, keys)
		d := &detacher{keys: keys}
		var got []byte
		found := false
		for rest := typed; len(rest) > 0 && !found; {
			n := min(step, len(rest))
			var pass []byte
			pass, found = d.feed(rest[:n])
			got = append(got, pass...)
			rest = rest[n:]
		}
		if !found {
			got = append(got, d.rest()...)
		}
		if found != wantFound || !bytes.Equal(got, want) {
			t.Errorf("keys %q, typed %q by %d: got %q, %v, want %q, %v", keys, typed, step, got, found, want, wantFound)
		}
	})
}

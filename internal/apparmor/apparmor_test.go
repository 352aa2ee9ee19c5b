package apparmor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKernel(t *testing.T) {
	dir := t.TempDir()
	k := kernel{filepath.Join(dir, "enabled"), filepath.Join(dir, "profiles")}
	if k.on() || k.loaded(Default) {
		t.Fatal("on, or loaded, without files")
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(k.enabled, "N\n")
	if k.on() {
		t.Error("on, with N")
	}
	write(k.enabled, "Y\n")
	if !k.on() {
		t.Error("off, with Y")
	}
	write(k.profiles, "/usr/bin/man (enforce)\nman (odd) (enforce)\nberth-default-2 (complain)\nhalf")
	for name, want := range map[string]bool{
		"/usr/bin/man": true, "man (odd)": true, "berth-default-2": true, Default: false, "man": false,
		"": false, "half": false, "berth-default-2 (complain)": false, ":ns:x": true, "a//&b": true,
	} {
		if got := k.loaded(name); got != want {
			t.Errorf("loaded %q: %v, want %v", name, got, want)
		}
	}
}

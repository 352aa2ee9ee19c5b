package container

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "Z": true, "0": true, "web": true, "web-1.2_3": true, "a.service": true, "a..b": true,
		strings.Repeat("x", MaxName): true,
		"":                           false, ".": false, "..": false, "-a": false, "_a": false, ".a": false,
		strings.Repeat("x", MaxName+1): false,
		"a@b":                          false, "a/b": false, "a b": false, "a\n": false, "a\x00": false, "ä": false, "a:b": false, "a\\x2d": false, "a%i": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: got %v, want ok %v", name, err, ok)
		}
	}
}

// validUnit is systemd's unit_name_is_valid(): its characters and its length.
func validUnit(name string) bool {
	const chars = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_.\\"
	prefix, instance, _ := strings.Cut(strings.TrimSuffix(name, ".service"), "@")
	return len(name) <= 255 && prefix != "" && strings.Trim(prefix, chars) == "" && strings.Trim(instance, chars+"@") == ""
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"web", "a@b", "../x", "a%i", "\xff", ".", "A.b-c_d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		for _, unit := range []string{"berth-" + name + ".service", "container@" + name + ".service"} {
			if !validUnit(unit) {
				t.Errorf("%q is no unit name", unit)
			}
		}
		if strings.ContainsAny(name, "@/%\\ \x00") || name == "." || name == ".." {
			t.Errorf("%q", name)
		}
	})
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if !isID(id) || seen[id] || CheckName(id) != nil || decimal(id[:12]) {
			t.Fatalf("got %q", id)
		}
		seen[id] = true
	}
	for _, s := range []string{"", "0123", strings.Repeat("A", 64), strings.Repeat("0", 65), strings.Repeat("g", 64)} {
		if isID(s) {
			t.Errorf("%q is no ID", s)
		}
	}
}

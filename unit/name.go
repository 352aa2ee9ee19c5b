package unit

import (
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// maxName is the longest unit name, without the NUL (UNIT_NAME_MAX).
const maxName = 255

// suffixes are the unit types.
var suffixes = []string{
	".service", ".socket", ".scope", ".slice", ".mount", ".automount",
	".timer", ".path", ".target", ".device", ".swap",
}

// ValidName says whether name is the full name of a unit, type included, that
// is not a bare template.
func ValidName(name string) error {
	stem, ok := "", false
	for _, s := range suffixes {
		if stem, ok = strings.CutSuffix(name, s); ok {
			break
		}
	}
	switch {
	case !ok:
		return fmt.Errorf("unit name %q: no unit type at its end", name)
	case stem == "" || stem[0] == '@':
		return fmt.Errorf("unit name %q: nothing before the type", name)
	case len(name) > maxName:
		return fmt.Errorf("unit name %q: longer than %d", name, maxName)
	case stem[len(stem)-1] == '@':
		return fmt.Errorf("unit name %q: a template, not an instance", name)
	}
	for i := range len(stem) {
		if !nameByte(stem[i]) && stem[i] != '@' {
			return fmt.Errorf("unit name %q: has %q; Escape such text", name, stem[i])
		}
	}
	return nil
}

// nameByte says whether b may stand in a unit's name as it is.
func nameByte(b byte) bool {
	return alnum(b) || b == ':' || b == '-' || b == '_' || b == '.' || b == '\\'
}

func alnum(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

const hexDigits = "0123456789abcdef"

// Escape makes any text fit to be part of a unit name, as systemd-escape does:
// '/' becomes '-', what may not stand in a name, and a leading dot, \xNN.
func Escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch ch := s[i]; {
		case ch == '/':
			b.WriteByte('-')
		case ch == '-' || ch == '\\' || !nameByte(ch) || i == 0 && ch == '.':
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[ch>>4])
			b.WriteByte(hexDigits[ch&15])
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// Unescape is the reverse of Escape.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '-':
			b.WriteByte('/')
		case '\\':
			if i+3 >= len(s) || s[i+1] != 'x' {
				return "", fmt.Errorf("unescape %q: bad escape at %d", s, i)
			}
			hi, lo := unhex(s[i+2]), unhex(s[i+3])
			if hi < 0 || lo < 0 {
				return "", fmt.Errorf("unescape %q: bad escape at %d", s, i)
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 3
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// Instance splits the name of an instance of a template: container@web.service
// is "container", "web", ".service".
func Instance(name string) (prefix, instance, suffix string, ok bool) {
	prefix, rest, ok := strings.Cut(name, "@")
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot <= 0 {
		return "", "", "", false
	}
	return prefix, rest[:dot], rest[dot:], true
}

const unitRoot = string(managerPath) + "/unit/"

// unitPath is the object of a unit: everything but letters and digits, and a
// leading digit, is _NN.
func unitPath(name string) dbus.ObjectPath {
	b := make([]byte, 0, len(unitRoot)+len(name)+8)
	b = append(b, unitRoot...)
	if name == "" {
		return dbus.ObjectPath(append(b, '_'))
	}
	for i := range len(name) {
		ch := name[i]
		if !alnum(ch) || i == 0 && ch <= '9' {
			b = append(b, '_', hexDigits[ch>>4], hexDigits[ch&15])
		} else {
			b = append(b, ch)
		}
	}
	return dbus.ObjectPath(b)
}

// unitName is the reverse of unitPath.
func unitName(path string) (string, bool) {
	s, ok := strings.CutPrefix(path, unitRoot)
	if !ok || s == "" {
		return "", false
	}
	if s == "_" {
		return "", true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '_' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), true
}

func unhex(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

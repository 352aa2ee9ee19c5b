package unit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// How values are written in unit files.

// specifiers takes the meaning from '%'.
func specifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func octal(v uint32) string { return fmt.Sprintf("%04o", v) }

func unlimited(v uint64) string {
	if v == Infinity {
		return "infinity"
	}
	return strconv.FormatUint(v, 10)
}

func signalName(n int32) string {
	if s := unix.SignalName(unix.Signal(n)); s != "" {
		return s
	}
	return strconv.Itoa(int(n)) // a real-time signal cannot be told from a status
}

// quote makes one word of s.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, special) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f || r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
	return b.String()
}

// special says whether r cannot stand bare in a word. '#' and ';' begin
// comments and separate commands at the beginning of a word only; quoting them
// everywhere is simpler.
func special(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\;#`, r)
}

// sections are the headings of a unit file.
func (s *Spec) typeSection() (section, string) {
	switch {
	case strings.HasSuffix(s.Name, ".service"):
		return inService, "Service"
	case strings.HasSuffix(s.Name, ".socket"):
		return inSocket, "Socket"
	case strings.HasSuffix(s.Name, ".scope"):
		return inScope, "Scope"
	case strings.HasSuffix(s.Name, ".slice"):
		return inSlice, "Slice"
	}
	return 0, ""
}

// DropIn is the text of a drop-in, or of a unit file, that says what s says,
// for the manager of the given version (0: any that is supported). Settings
// that the version does not know are ErrNotSupported. Lists that the drop-in
// adds to, such as ExecStart=, are not reset.
func (s *Spec) DropIn(version int) (string, error) {
	own, heading := s.typeSection()
	var general, typed strings.Builder
	err := s.each(version, func(r *row, v *value) error {
		if r.key == "" {
			return &Error{Op: "write drop-in of", Unit: s.Name, Err: fmt.Errorf("%s has no text form", r.prop)}
		}
		out := &typed
		if r.in == inUnit {
			out = &general
		}
		for _, line := range v.lines() {
			if strings.IndexFunc(line, control) >= 0 || !utf8.ValidString(line) {
				return &Error{Op: "write drop-in of", Unit: s.Name, Err: fmt.Errorf("%s=%q cannot be written on one line", r.key, line)}
			}
			if !strings.HasSuffix(r.key, "*") {
				out.WriteString(r.key + "=")
			}
			out.WriteString(line + "\n")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if general.Len() > 0 {
		b.WriteString("[Unit]\n" + general.String())
	}
	if typed.Len() > 0 {
		if own == 0 {
			return "", &Error{Op: "write drop-in of", Unit: s.Name, Err: fmt.Errorf("settings of another type of unit")}
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("[" + heading + "]\n" + typed.String())
	}
	return b.String(), nil
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// each calls f with every setting that s asks for.
func (s *Spec) each(version int, f func(*row, *value) error) error {
	own, _ := s.typeSection()
	for i := range table {
		r := &table[i]
		if r.in != inUnit && r.in&own == 0 {
			continue
		}
		v, err := r.kind.get(s)
		if err != nil {
			return &Error{Op: "describe", Unit: s.Name, Err: fmt.Errorf("%s: %w", r.name(), err)}
		}
		if v == nil {
			continue
		}
		if version != 0 && version < r.since {
			return &Error{Op: "describe", Unit: s.Name, Err: &UnsupportedError{r.name() + "=", r.since, version}}
		}
		if err := f(r, v); err != nil {
			return err
		}
	}
	return nil
}

// name is what a user knows the setting by.
func (r *row) name() string {
	switch r.key {
	case "":
		return r.prop
	case "Listen*":
		return "Listen"
	}
	return r.key
}

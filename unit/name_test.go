package unit

import (
	"os/exec"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"web":      "web",
		"a/b":      "a-b",
		"a-b":      `a\x2db`,
		".hidden":  `\x2ehidden`,
		"a.b":      "a.b",
		"ü x@y":    `\xc3\xbc\x20x\x40y`,
		`back\x2d`: `back\x5cx2d`,
	} {
		got := Escape(in)
		if got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
		if back, err := Unescape(got); err != nil || back != in {
			t.Errorf("Unescape(%q) = %q, %v, want %q", got, back, err, in)
		}
		if path, err := exec.LookPath("systemd-escape"); err == nil {
			out, err := exec.Command(path, "--", in).Output()
			if err != nil || strings.TrimSuffix(string(out), "\n") != got {
				t.Errorf("systemd-escape %q says %q, %v", in, out, err)
			}
		}
	}
	for _, bad := range []string{`\`, `\x`, `\x2`, `\xgg`, `a\y20`} {
		if s, err := Unescape(bad); err == nil {
			t.Errorf("Unescape(%q) = %q", bad, s)
		}
	}
}

func TestValidName(t *testing.T) {
	for _, good := range []string{"web.service", "berth-web.socket", "container@web.service", "a@b@c.service", "-.slice", `x\x2dy.service`, "a.b.service"} {
		if err := ValidName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "web", ".service", "@.service", "container@.service", "@x.service", "a b.service", "a/b.service", "ü.service", "web.conf", strings.Repeat("a", 248) + ".service"} {
		if ValidName(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestInstance(t *testing.T) {
	p, i, s, ok := Instance("container@web.1.service")
	if p != "container" || i != "web.1" || s != ".service" || !ok {
		t.Errorf("got %q %q %q %v", p, i, s, ok)
	}
	for _, no := range []string{"web.service", "container@.service", "container@web", ""} {
		if _, _, _, ok := Instance(no); ok {
			t.Errorf("%q was taken for an instance", no)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a-b/c.d")
	f.Add("\\x2d\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		e := Escape(s)
		if back, err := Unescape(e); err != nil || back != s {
			t.Errorf("Unescape(Escape(%q)) = %q, %v", s, back, err)
		}
		if e != "" && len(e) < 200 {
			if err := ValidName("x@" + e + ".service"); err != nil {
				t.Error(err)
			}
		}
		Unescape(s) // any text: an error, never a panic
	})
}

func FuzzUnitPath(f *testing.F) {
	f.Add("berth-web.service")
	f.Add("1")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		p := unitPath(s)
		if !p.IsValid() {
			t.Errorf("%q: path %q is not valid", s, p)
		}
		if back, ok := unitName(string(p)); !ok || back != s {
			t.Errorf("%q: path %q means %q, %v", s, p, back, ok)
		}
		unitName(unitRoot + s) // any path: no panic
	})
}

// FuzzQuote: a word that is quoted is one word, and says the same. split is
// systemd's way to read it.
func FuzzQuote(f *testing.F) {
	f.Add("a b")
	f.Add("\"\\\n\x01\xff'%;")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			return // no argument or variable can have it
		}
		q := quote(s)
		if strings.ContainsAny(q, "\n\x00") {
			t.Errorf("%q is more than a line", q)
		}
		if got := split(t, q); got != s {
			t.Errorf("quote(%q) = %q, read as %q", s, q, got)
		}
	})
}

// split reads one word.
func split(t *testing.T, q string) string {
	if q == "" || q[0] != '"' {
		if strings.ContainsAny(q, " \t\"'\\;#") || q == "" {
			t.Fatalf("%q is not a word", q)
		}
		return q
	}
	var b strings.Builder
	for i := 1; i < len(q); i++ {
		switch q[i] {
		case '"':
			if i != len(q)-1 {
				t.Fatalf("%q goes on", q)
			}
			return b.String()
		case '\\':
			i++
			switch q[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'x':
				b.WriteByte(byte(unhex(q[i+1])<<4 | unhex(q[i+2])))
				i += 2
			default:
				b.WriteByte(q[i])
			}
		default:
			b.WriteByte(q[i])
		}
	}
	t.Fatalf("%q does not end", q)
	return ""
}

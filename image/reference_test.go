package image

import (
	"errors"
	"strings"
	"testing"
)

const someDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseReference(t *testing.T) {
	for in, want := range map[string]struct{ full, familiar string }{
		"nginx":                              {"docker.io/library/nginx:latest", "nginx:latest"},
		"nginx:1.2":                          {"docker.io/library/nginx:1.2", "nginx:1.2"},
		"user/nginx":                         {"docker.io/user/nginx:latest", "user/nginx:latest"},
		"docker.io/nginx":                    {"docker.io/library/nginx:latest", "nginx:latest"},
		"index.docker.io/library/nginx":      {"docker.io/library/nginx:latest", "nginx:latest"},
		"registry-1.docker.io/library/nginx": {"docker.io/library/nginx:latest", "nginx:latest"},
		"localhost/nginx":                    {"localhost/nginx:latest", "localhost/nginx:latest"},
		"localhost:5000/nginx":               {"localhost:5000/nginx:latest", "localhost:5000/nginx:latest"},
		"localhost:5000":                     {"docker.io/library/localhost:5000", "localhost:5000"},
		"a.b/c":                              {"a.b/c:latest", "a.b/c:latest"},
		"HOST/c":                             {"HOST/c:latest", "HOST/c:latest"},
		"[::1]:5000/a/b:c":                   {"[::1]:5000/a/b:c", "[::1]:5000/a/b:c"},
		"a.b:1/c/d/e:f":                      {"a.b:1/c/d/e:f", "a.b:1/c/d/e:f"},
		"nginx@" + someDigest:                {"docker.io/library/nginx@" + someDigest, "nginx@" + someDigest},
		"nginx:1@" + someDigest:              {"docker.io/library/nginx:1@" + someDigest, "nginx:1@" + someDigest},
		"a_b/c__d/e.f/g---h":                 {"docker.io/a_b/c__d/e.f/g---h:latest", "a_b/c__d/e.f/g---h:latest"},
		"docker.io/localhost/x":              {"docker.io/localhost/x:latest", "docker.io/localhost/x:latest"},
		"docker.io/library/a.b":              {"docker.io/library/a.b:latest", "a.b:latest"},
		"docker.io/library/x/y":              {"docker.io/library/x/y:latest", "library/x/y:latest"},
	} {
		r, err := ParseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if r.String() != want.full {
			t.Errorf("%s: full %q, want %q", in, r, want.full)
		}
		again, err := ParseReference(r.Familiar())
		if err != nil || again != r {
			t.Errorf("%s: familiar %q is %v again (%v)", in, r.Familiar(), again, err)
		}
		if r.Familiar() != want.familiar {
			t.Errorf("%s: familiar %q, want %q", in, r.Familiar(), want.familiar)
		}
	}
	for _, in := range []string{
		"", ":", "@", "/", "a:", "a@", "a@sha256:abc", "a@md5:aaaa", "Nginx", "a/B", "a//b", "/a", "a/", "-a", "a-", "a.-b", "a___b", "a..b",
		"a:-b", "a: b", "a b", "ä", "host..x/a", "a.b:/c", "a.b:port/c", "a.b:999999/c", "[::1/a", "[x]/a", "a\n", "a\x00", "../a", "a.b/../c",
		strings.Repeat("a", 64), strings.Repeat("x", 300), "a:" + strings.Repeat("t", 129), "https://a.b/c", "a@" + someDigest + "x", "a@" + strings.ToUpper(someDigest),
	} {
		if r, err := ParseReference(in); !errors.Is(err, ErrBadReference) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: parsed as %v (%v)", in, r, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"nginx", "localhost:5000/a/b:c@" + someDigest, "docker.io/library/a.b", "[::1]:5000/a", "A/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		for _, form := range []string{r.String(), r.Familiar()} {
			if again, err := ParseReference(form); err != nil || again != r {
				t.Fatalf("%q: %+v, as %q: %+v (%v)", s, r, form, again, err)
			}
		}
		if strings.ContainsAny(r.String(), " \t\n\x00\"\\%") || strings.Contains(r.String(), "..") {
			t.Fatalf("%q parsed to %q", s, r)
		}
	})
}

func TestPlatforms(t *testing.T) {
	for in, want := range map[string]string{"linux/amd64": "linux/amd64", "arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/x86_64": "linux/amd64", "linux/arm": "linux/arm/v7", "linux/armhf": "linux/arm/v7", "windows/amd64": "windows/amd64"} {
		if p, err := ParsePlatform(in); err != nil || platformString(p) != want {
			t.Errorf("%s: %s, %v", in, platformString(p), err)
		}
	}
	for _, in := range []string{"/", "linux/", "/amd64", "a/b/c/d"} {
		if p, err := ParsePlatform(in); err == nil {
			t.Errorf("%q: %v", in, p)
		}
	}
}

package image

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	defaultDomain = "docker.io"
	officialRepo  = "library/"
	defaultTag    = "latest"
	maxNameLen    = 255
)

// A Reference names an image in a registry, in full: "nginx" is parsed into
// docker.io, library/nginx, latest. At least one of Tag and Digest is set;
// with both, Digest decides and Tag is for the reader.
type Reference struct {
	Domain string // host[:port]
	Path   string // repository below the domain
	Tag    string
	Digest digest.Digest
}

// ParseReference reads a reference as docker and podman do. The error wraps
// ErrBadReference.
func ParseReference(s string) (Reference, error) {
	r, err := parseReference(s)
	if err != nil {
		return Reference{}, fmt.Errorf("%w %q: %v", ErrBadReference, s, err)
	}
	return r, nil
}

type refError string

func (e refError) Error() string { return string(e) }

func parseReference(s string) (Reference, error) {
	var r Reference
	if s == "" {
		return r, refError("empty")
	}
	name, dgst, found := strings.Cut(s, "@")
	if found {
		if !isDigest(dgst) {
			return r, refError("malformed digest")
		}
		r.Digest = digest.Digest(dgst)
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, r.Tag = name[:i], name[i+1:]
		if !isTag(r.Tag) {
			return r, refError("malformed tag")
		}
	}
	r.Domain, r.Path = splitDomain(name)
	switch {
	case r.Domain == defaultDomain && isHex64(r.Path):
		return r, refError("64 hexadecimal digits are an image ID, not a name")
	case r.Domain == defaultDomain && !strings.Contains(r.Path, "/"):
		r.Path = officialRepo + r.Path
	}
	if !isDomain(r.Domain) {
		return r, refError("malformed registry host")
	}
	if len(r.Name()) > maxNameLen {
		return r, refError("name longer than 255 characters")
	}
	if err := checkPath(r.Path); err != nil {
		return r, err
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = defaultTag
	}
	return r, nil
}

// splitDomain tells a registry host from the first part of a repository: a
// host has a dot, a port or an upper-case letter, or is localhost.
func splitDomain(name string) (domain, path string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" && first == strings.ToLower(first) {
		return defaultDomain, name
	}
	if first == "index.docker.io" || first == "registry-1.docker.io" {
		first = defaultDomain
	}
	return first, rest
}

// Name is domain and path: what tags and digests are in.
func (r Reference) Name() string { return r.Domain + "/" + r.Path }

// String is the full form.
func (r Reference) String() string { return r.Name() + r.suffix() }

// Familiar is the form people type: without docker.io/library/ where that is
// the default. It parses back into the same reference.
func (r Reference) Familiar() string {
	if r.Domain != defaultDomain {
		return r.String()
	}
	path := r.Path
	if short, ok := strings.CutPrefix(path, officialRepo); ok && !strings.Contains(short, "/") {
		if !isHex64(short) {
			path = short
		}
	} else if d, _ := splitDomain(path); d != defaultDomain {
		return r.String()
	}
	return path + r.suffix()
}

func (r Reference) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isWord(c byte) bool { return isAlnum(c) || c >= 'A' && c <= 'Z' }

func isTag(s string) bool {
	if s == "" || len(s) > 128 || !isWord(s[0]) && s[0] != '_' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isWord(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return true
}

// isDigest accepts what the store can verify: sha256.
func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && isHex64(hex)
}

func isHex64(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return s != ""
}

// checkPath wants parts of letters and digits, joined by ".", "_", "__" or
// any number of "-", separated by "/".
func checkPath(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			return refError("empty part in the name")
		}
		if part != strings.ToLower(part) {
			return refError("names are lower case")
		}
		if !isAlnum(part[0]) || !isAlnum(part[len(part)-1]) {
			return refError("parts of a name begin and end with a letter or digit")
		}
		for i := 0; i < len(part); {
			if isAlnum(part[i]) {
				i++
				continue
			}
			j := i
			for !isAlnum(part[j]) {
				j++
			}
			switch sep := part[i:j]; {
			case sep == ".", sep == "_", sep == "__", strings.Trim(sep, "-") == "":
			default:
				return refError(fmt.Sprintf("%q in the name", sep))
			}
			i = j
		}
	}
	return nil
}

func isDomain(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	if v6, ok := strings.CutPrefix(host, "["); ok {
		v6, ok = strings.CutSuffix(v6, "]")
		return ok && v6 != "" && strings.Trim(strings.ToLower(v6), "0123456789abcdef:") == "" && strings.Contains(v6, ":")
	}
	if host == "" {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || !isWord(label[0]) || !isWord(label[len(label)-1]) {
			return false
		}
		for i := 0; i < len(label); i++ {
			if !isWord(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

// parseDevice reads HOST-PATH[:CONTAINER-PATH][:ACCESS].
func parseDevice(s string) (container.Device, error) {
	want := errors.New("HOST-PATH[:CONTAINER-PATH][:ACCESS], with ACCESS of r, w and m, e.g. /dev/fuse:/dev/fuse:rw")
	parts := strings.Split(s, ":")
	d := container.Device{Source: parts[0], Destination: parts[0], Access: "rwm"}
	if !strings.HasPrefix(s, "/") {
		if strings.Contains(s, "/") && strings.Contains(s, "=") {
			return d, errors.New("a path: CDI devices are not supported yet")
		}
		return d, want
	}
	switch len(parts) {
	case 1:
	case 2:
		if isAccess(parts[1]) {
			d.Access = parts[1]
		} else {
			d.Destination = parts[1]
		}
	case 3:
		if d.Destination = parts[1]; !isAccess(parts[2]) {
			return d, want
		}
		d.Access = parts[2]
	default:
		return d, want
	}
	if !strings.HasPrefix(d.Destination, "/") {
		return d, want
	}
	return d, sourceExists(d.Source)
}

// isAccess wants r, w and m at most once each.
func isAccess(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "rwm") == "" &&
		strings.Count(s, "r") <= 1 && strings.Count(s, "w") <= 1 && strings.Count(s, "m") <= 1
}

// ulimits are the resources of getrlimit(2).
var ulimits = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
	"nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// parseUlimit reads NAME=SOFT[:HARD]. -1 is without limit.
func parseUlimit(s string) (container.Ulimit, error) {
	want := errors.New("NAME=SOFT[:HARD], -1 for no limit, e.g. nofile=1024:4096")
	name, limits, _ := strings.Cut(s, "=")
	u := container.Ulimit{Name: strings.TrimPrefix(strings.ToLower(name), "rlimit_")}
	if !slices.Contains(ulimits, u.Name) {
		return u, fmt.Errorf("a limit of %s, not %q", strings.Join(ulimits, ", "), name)
	}
	soft, hard, both := strings.Cut(limits, ":")
	var err error
	if u.Soft, err = parseLimit(soft); err != nil {
		return u, want
	}
	u.Hard = u.Soft
	if both {
		if u.Hard, err = parseLimit(hard); err != nil {
			return u, want
		}
	}
	if u.Hard != -1 && (u.Soft > u.Hard || u.Soft == -1) {
		return u, errors.New("a soft limit that is not above the hard one")
	}
	return u, nil
}

func parseLimit(s string) (int64, error) {
	if s == "unlimited" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1 {
		return 0, errors.New("not a limit")
	}
	return n, nil
}

// parseRestart reads no, always, unless-stopped, on-failure[:N].
func parseRestart(s string) (container.RestartPolicy, error) {
	want := errors.New("no, always, unless-stopped or on-failure[:MAX-RETRIES]")
	name, count, hasCount := strings.Cut(s, ":")
	p := container.RestartPolicy{Name: name}
	switch name {
	case "no", "always", "unless-stopped":
		if hasCount {
			return p, want
		}
	case "on-failure":
		if !hasCount {
			break
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 {
			return p, want
		}
		p.MaxRetries = n
	default:
		return p, want
	}
	return p, nil
}

// parseSignal reads a signal's number or name, with or without SIG.
func parseSignal(s string) (syscall.Signal, error) {
	sig, err := engine.ParseSignal(s)
	if err != nil {
		return 0, errors.New("a signal's name or number (1 to 64), e.g. TERM")
	}
	return sig, nil
}

// parseSeconds reads a time in whole seconds.
func parseSeconds(s string) (time.Duration, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("a number of seconds, 0 or more")
	}
	return time.Duration(n) * time.Second, nil
}

// parseEntrypoint reads a command, or a JSON array of one with arguments. Empty:
// the image's entry point does not count.
func parseEntrypoint(s string) ([]string, error) {
	switch {
	case s == "":
		return []string{}, nil
	case s[0] == '[':
		var list []string
		if err := json.Unmarshal([]byte(s), &list); err != nil {
			return nil, errors.New(`a command or a JSON array of strings, e.g. ["sh", "-c"]`)
		}
		return list, nil
	}
	return []string{s}, nil
}

// parseNamespace returns a parser of a namespace flag. Each of words is one
// choice; "private" becomes the empty string.
func parseNamespace(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		switch kind, target, found := strings.Cut(s, ":"); {
		case slices.Contains(words, s) && target == "" && !found:
			if s == "private" {
				return "", nil
			}
			return s, nil
		case found && slices.Contains(words, kind+":") && target != "":
			if kind == "ns" && !filepath.IsAbs(target) {
				return "", errors.New("ns: followed by an absolute path")
			}
			return s, nil
		}
		return "", errors.New(choices(words))
	}
}

// choices is "a, b or c". A word that ends in a colon takes something after it.
func choices(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w
		switch w {
		case "container:":
			list[i] += "NAME"
		case "ns:":
			list[i] += "PATH"
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// parseChoice returns a parser that accepts words.
func parseChoice(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", errors.New(choices(words))
		}
		return s, nil
	}
}

func parseNetwork(s string) (string, error) {
	switch s {
	case "private":
		return "none", nil
	case "bridge", "slirp4netns", "pasta", "default":
		return "", fmt.Errorf("none or host: %s is not supported yet", s)
	}
	v, err := parseNamespace("none", "host", "container:", "ns:")(s)
	if err != nil && !strings.Contains(s, ":") {
		return "", errors.New("none, host, container:NAME or ns:PATH: networks with a name are not supported yet")
	}
	return v, err
}

func parseHostname(s string) (string, error) {
	ok := s != "" && len(s) <= 64 && s[0] != '-' && s[0] != '.'
	for i := range len(s) {
		c := s[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	}
	if !ok {
		return "", errors.New("1 to 64 letters, digits, '-' and '.'")
	}
	return s, nil
}

func parseName(s string) (string, error) {
	if err := container.CheckName(s); err != nil {
		return "", fmt.Errorf("1 to %d letters, digits, '_', '.' and '-', beginning with a letter or digit", container.MaxName)
	}
	return s, nil
}

func parseDNS(s string) (string, error) {
	if s != "none" {
		if _, err := netip.ParseAddr(s); err != nil {
			return "", errors.New("an IP address")
		}
	}
	return s, nil
}

// parseAddHost reads HOST[;HOST…]:IP (Podman) or HOST=IP (Docker) into HOST:IP.
func parseAddHost(s string) ([]string, error) {
	want := errors.New("HOST:IP, with an IP address or host-gateway")
	hosts, ip, found := strings.Cut(s, "=")
	if !found {
		hosts, ip, found = strings.Cut(s, ":")
	}
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	if _, err := netip.ParseAddr(ip); !found || err != nil && ip != "host-gateway" {
		return nil, want
	}
	var list []string
	for h := range strings.SplitSeq(hosts, ";") {
		if h == "" || strings.ContainsAny(h, " \t\n#") {
			return nil, want
		}
		list = append(list, h+":"+ip)
	}
	return list, nil
}

func parseUmask(s string) (string, error) {
	if n, err := strconv.ParseUint(s, 8, 16); err != nil || n > 0o777 || len(s) > 4 {
		return "", errors.New("an octal number up to 0777, e.g. 0022")
	}
	return s, nil
}

func parseTimezone(s string) (string, error) {
	if s == "" || strings.HasPrefix(s, "/") || strings.Contains(s, "..") {
		return "", errors.New("a name such as Europe/Berlin, or local")
	}
	return s, nil
}

func parseWorkDir(s string) (string, error) {
	if !strings.HasPrefix(s, "/") {
		return "", errors.New("an absolute path in the container")
	}
	return s, nil
}

func parseSlice(s string) (string, error) {
	if len(s) <= len(".slice") || !strings.HasSuffix(s, ".slice") || strings.ContainsAny(s, "/ \t\n") || s[0] == '-' {
		return "", errors.New("the name of a slice unit, e.g. machine-web.slice")
	}
	return s, nil
}

func parsePlatform(s string) (string, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return "", errors.New("OS/ARCH[/VARIANT], e.g. linux/arm64")
	}
	return s, nil
}

// nonEmpty accepts everything but nothing.
func nonEmpty(s string) (string, error) {
	if s == "" {
		return "", errors.New("a value")
	}
	return s, nil
}

// securityOpt checks the kind of a --security-opt and makes a file's path
// absolute: the record is read elsewhere.
func (e environment) securityOpt(s string) (string, error) {
	if key, value, found := strings.Cut(s, ":"); found && !strings.Contains(key, "=") {
		s = key + "=" + value // Docker's old spelling
	}
	key, value, _ := strings.Cut(s, "=")
	switch key {
	case "no-new-privileges", "label", "mask", "unmask", "systempaths":
		return s, nil
	case "apparmor":
		if value != "" {
			return s, nil
		}
	case "seccomp":
		if value == "" {
			break
		}
		if value != "unconfined" && !filepath.IsAbs(value) {
			cwd, err := e.cwd()
			if err != nil {
				return "", err
			}
			value = filepath.Join(cwd, value)
		}
		return "seccomp=" + value, nil
	}
	return "", errors.New("seccomp=unconfined or a file, no-new-privileges, mask=PATH, unmask=PATH, systempaths=unconfined, label=disable or apparmor=PROFILE")
}

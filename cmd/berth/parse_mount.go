package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berthrun/berth/container"
)

// parseVolume reads one -v: HOST-PATH:CONTAINER-PATH[:OPTIONS].
func (e environment) parseVolume(s string) (container.Mount, error) {
	m := container.Mount{Type: "bind"}
	parts := splitColons(s)
	switch {
	case len(parts) == 1:
		return m, errors.New("HOST-PATH:CONTAINER-PATH: anonymous volumes are not supported yet")
	case len(parts) > 3:
		return m, errors.New(`HOST-PATH:CONTAINER-PATH[:OPTIONS] (a colon in a path is written \:)`)
	}
	var err error
	if m.Source, err = e.hostPath(parts[0]); err != nil {
		return m, err
	}
	if m.Destination, err = containerPath(parts[1]); err != nil {
		return m, err
	}
	if len(parts) == 3 && parts[2] != "" {
		if m.Options, err = bindOptions(strings.Split(parts[2], ",")); err != nil {
			return m, err
		}
	}
	return m, sourceExists(m.Source)
}

// splitColons splits at the colons that no backslash stands before.
func splitColons(s string) []string {
	parts := []string{""}
	for i := 0; i < len(s); i++ {
		last := &parts[len(parts)-1]
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == ':':
			i++
			*last += ":"
		case s[i] == ':':
			parts = append(parts, "")
		default:
			*last += s[i : i+1]
		}
	}
	return parts
}

// hostPath makes the source of a mount absolute. What begins with neither '/',
// '.' nor '~' is the name of a volume.
func (e environment) hostPath(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("a path on the host before the colon")
	case s == "~" || strings.HasPrefix(s, "~/"):
		home, err := e.home()
		if err != nil {
			return "", fmt.Errorf("a path on the host: %w", err)
		}
		return filepath.Join(home, s[1:]), nil
	case s[0] == '/':
		return filepath.Clean(s), nil
	case s[0] == '.':
		cwd, err := e.cwd()
		if err != nil {
			return "", fmt.Errorf("an absolute path: %w", err)
		}
		return filepath.Join(cwd, s), nil
	}
	return "", fmt.Errorf("a path: named volumes are not supported yet, and a path begins with '/' or './': ./%s", s)
}

func containerPath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") {
		return "", fmt.Errorf("an absolute path in the container, not %q", s)
	}
	s = filepath.Clean(s)
	if s == "/" {
		return "", errors.New("a path in the container other than its root")
	}
	return s, nil
}

func sourceExists(path string) error {
	if _, err := os.Stat(path); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return fmt.Errorf("a path that exists: %s: %w", path, err)
	}
	return nil
}

// option groups of which one may be chosen.
var exclusive = [][]string{
	{"ro", "rw"},
	{"exec", "noexec"},
	{"suid", "nosuid"},
	{"dev", "nodev"},
	{"bind", "rbind"},
	{"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"},
}

// bindOptions checks the options of a bind mount. Those that change nothing here
// are dropped: z and Z are for SELinux' labels, copy and nocopy for volumes.
func bindOptions(in []string) ([]string, error) {
	var out []string
	for _, o := range in {
		switch o {
		case "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "bind", "rbind", "rro",
			"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable":
			out = append(out, o)
		case "readonly":
			out = append(out, "ro")
		case "z", "Z", "copy", "nocopy", "cached", "delegated", "consistent", "":
		case "U", "O", "idmap":
			return nil, fmt.Errorf("other options: %q is not supported yet", o)
		default:
			return nil, fmt.Errorf("options of ro, rw, rbind, bind, [r]private, [r]shared, [r]slave, [no]exec, [no]suid, [no]dev, not %q", o)
		}
	}
	for _, group := range exclusive {
		var found []string
		for _, o := range out {
			if slices.Contains(group, o) && !slices.Contains(found, o) {
				found = append(found, o)
			}
		}
		if len(found) > 1 {
			return nil, fmt.Errorf("one of %s, not both", strings.Join(found, " and "))
		}
	}
	return out, nil
}

// parseTmpfs reads one --tmpfs: CONTAINER-PATH[:OPTIONS].
func parseTmpfs(s string) (container.Mount, error) {
	path, options, _ := strings.Cut(s, ":")
	m := container.Mount{Type: "tmpfs"}
	var err error
	if m.Destination, err = containerPath(path); err != nil {
		return m, err
	}
	for o := range strings.SplitSeq(options, ",") {
		if o == "" {
			continue
		}
		if err := checkTmpfsOption(o); err != nil {
			return m, err
		}
		m.Options = append(m.Options, o)
	}
	return m, nil
}

func checkTmpfsOption(o string) error {
	key, value, hasValue := strings.Cut(o, "=")
	switch key {
	case "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
		"mand", "nomand", "tmpcopyup", "notmpcopyup", "noswap",
		"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable":
		if !hasValue {
			return nil
		}
	case "size", "nr_blocks", "nr_inodes":
		if _, err := parseSize(strings.TrimSuffix(value, "%")); err == nil {
			return nil
		}
	case "mode":
		if _, err := strconv.ParseUint(value, 8, 12); err == nil {
			return nil
		}
	case "uid", "gid":
		if _, err := strconv.ParseUint(value, 10, 32); err == nil {
			return nil
		}
	case "mpol", "huge":
		if value != "" {
			return nil
		}
	}
	return fmt.Errorf("options of size=, mode=, uid=, gid=, nr_inodes=, ro, rw, [no]exec, [no]suid, [no]dev, not %q", o)
}

// parseMount reads one --mount: comma-separated KEY=VALUE, in which a part with a
// comma of its own is put in double quotes.
func (e environment) parseMount(s string) (container.Mount, error) {
	r := csv.NewReader(strings.NewReader(s))
	fields, err := r.Read()
	if err != nil {
		return container.Mount{}, errors.New("type=bind|tmpfs,src=PATH,dst=PATH,…")
	}
	if _, err := r.Read(); err == nil {
		return container.Mount{}, errors.New("one line")
	}
	p := mountFields{env: e}
	for _, f := range fields {
		if err := p.field(f); err != nil {
			return container.Mount{}, err
		}
	}
	return p.mount()
}

// mountFields collects the parts of a --mount.
type mountFields struct {
	env      environment
	kind     string
	src, dst string
	common   []string // options of either kind
	bind     []string // bind only
	tmpfs    []string // tmpfs only
	flat     bool     // not recursive
}

func (p *mountFields) field(f string) error {
	key, value, hasValue := strings.Cut(f, "=")
	if !hasValue {
		value = "true"
	}
	switch key {
	case "type":
		p.kind = value
	case "src", "source":
		p.src = value
	case "dst", "destination", "target":
		p.dst = value
	case "ro", "readonly":
		return p.either(key, value, "ro", "rw")
	case "rw":
		return p.either(key, value, "rw", "ro")
	case "exec", "noexec", "suid", "nosuid", "dev", "nodev":
		return p.either(key, value, key, "")
	case "bind-propagation":
		p.bind = append(p.bind, value)
	case "bind-nonrecursive":
		return setBool(&p.flat, key, value)
	case "bind-recursive":
		switch value {
		case "enabled", "writable":
		case "disabled":
			p.flat = true
		case "readonly":
			p.bind = append(p.bind, "rro")
		default:
			return errors.New("bind-recursive=enabled, disabled, writable or readonly")
		}
	case "relabel", "consistency":
	case "tmpfs-size":
		n, err := parseSize(value)
		if err != nil {
			return fmt.Errorf("tmpfs-size=%w", err)
		}
		p.tmpfs = append(p.tmpfs, "size="+strconv.FormatInt(n, 10))
	case "tmpfs-mode":
		n, err := strconv.ParseUint(value, 8, 12)
		if err != nil {
			return errors.New("tmpfs-mode=MODE in octal, e.g. 1777")
		}
		p.tmpfs = append(p.tmpfs, "mode="+strconv.FormatUint(n, 8))
	case "tmpcopyup", "notmpcopyup", "noswap":
		p.tmpfs = append(p.tmpfs, key)
	case "U", "chown", "idmap", "subpath", "volume-subpath", "volume-opt", "volume-nocopy", "volume-driver", "volume-label", "no-dereference":
		return fmt.Errorf("other keys: %s is not supported yet", key)
	default:
		return fmt.Errorf("keys of type, src, dst, ro, bind-propagation, bind-nonrecursive, tmpfs-size, tmpfs-mode, not %q", key)
	}
	return nil
}

func setBool(b *bool, key, value string) error {
	v, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%s=true or false", key)
	}
	*b = v
	return nil
}

// either appends yes or no as value says; an empty one is not appended.
func (p *mountFields) either(key, value, yes, no string) error {
	var b bool
	if err := setBool(&b, key, value); err != nil {
		return err
	}
	if !b {
		yes = no
	}
	if yes != "" {
		p.common = append(p.common, yes)
	}
	return nil
}

func (p *mountFields) mount() (m container.Mount, err error) {
	if p.dst == "" {
		return m, errors.New("dst=PATH in the container")
	}
	m.Type = p.kind
	if m.Destination, err = containerPath(p.dst); err != nil {
		return m, err
	}
	switch p.kind {
	case "bind":
		return p.bindMount(m)
	case "tmpfs":
		if p.src != "" || len(p.bind) > 0 || p.flat {
			return m, errors.New("type=tmpfs without src= and bind-…=")
		}
		m.Options = append(p.common, p.tmpfs...)
		return m, nil
	case "volume", "image", "glob", "ramfs", "devpts", "npipe", "cluster":
		return m, fmt.Errorf("type=bind or type=tmpfs: type=%s is not supported yet", p.kind)
	case "":
		return m, errors.New("type=bind or type=tmpfs")
	}
	return m, fmt.Errorf("type=bind or type=tmpfs, not type=%s", p.kind)
}

func (p *mountFields) bindMount(m container.Mount) (container.Mount, error) {
	if len(p.tmpfs) > 0 {
		return m, errors.New("type=bind without tmpfs-…=")
	}
	if p.src == "" {
		return m, errors.New("src=PATH on the host")
	}
	src := p.src
	if !strings.ContainsAny(src[:1], "/.~") {
		src = "./" + src // here it can be nothing but a path
	}
	var err error
	if m.Source, err = p.env.hostPath(src); err != nil {
		return m, err
	}
	options := append(p.common, p.bind...)
	if p.flat {
		options = append(options, "bind")
	}
	if m.Options, err = bindOptions(options); err != nil {
		return m, err
	}
	return m, sourceExists(m.Source)
}

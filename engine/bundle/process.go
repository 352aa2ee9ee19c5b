package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ErrNoCommand: neither the user nor the image names a command.
var ErrNoCommand = errors.New("no command: the image names none, give one after it")

// Command returns what is executed: the entry point and its arguments, the
// user's before the image's. A user's entry point drops the image's arguments.
func Command(spec *container.Spec, image *ispec.ImageConfig) ([]string, error) {
	entry, args := image.Entrypoint, spec.Args
	if spec.Entrypoint != nil {
		entry = *spec.Entrypoint
	} else if len(args) == 0 {
		args = image.Cmd
	}
	command := slices.Concat(entry, args)
	if len(command) == 0 || command[0] == "" {
		return nil, ErrNoCommand
	}
	return command, nil
}

// Environment merges the image's variables and the user's; a later value of
// one name replaces the earlier one in its place.
func Environment(spec *container.Spec, image *ispec.ImageConfig, hostname, home string) []string {
	env := []string{defaultPath, "container=berth"}
	if hostname != "" {
		env = append(env, "HOSTNAME="+hostname)
	}
	if spec.TTY {
		env = append(env, "TERM=xterm")
	}
	return MergeEnv(MergeEnv(append(env, "HOME="+home), image.Env), spec.Env)
}

// MergeEnv returns base with the variables of over set.
func MergeEnv(base, over []string) []string {
	env := slices.Clone(base)
	for _, kv := range over {
		name, _, _ := strings.Cut(kv, "=")
		i := slices.IndexFunc(env, func(s string) bool { n, _, _ := strings.Cut(s, "="); return n == name })
		if i >= 0 {
			env[i] = kv
		} else {
			env = append(env, kv)
		}
	}
	return env
}

// User resolves USER[:GROUP] in the container's own passwd and group files and
// returns the OCI user and its home directory.
func User(tree Tree, want string, groups []string) (specs.User, string, error) {
	passwd, err := optional(tree, "/etc/passwd")
	if err != nil {
		return specs.User{}, "", err
	}
	group, err := optional(tree, "/etc/group")
	if err != nil {
		return specs.User{}, "", err
	}
	if want == "" {
		want = "0"
	}
	u, err := user.GetExecUser(want, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return specs.User{}, "", userError(want, err)
	}
	out := specs.User{UID: uint32(u.Uid), GID: uint32(u.Gid)}
	more := slices.Clone(u.Sgids)
	if len(groups) > 0 {
		extra, err := user.GetAdditionalGroups(groups, bytes.NewReader(group))
		if err != nil {
			return specs.User{}, "", fmt.Errorf("group-add %s: %w", strings.Join(groups, ","), err)
		}
		more = append(more, extra...)
	}
	slices.Sort(more)
	for _, g := range slices.Compact(more) {
		out.AdditionalGids = append(out.AdditionalGids, uint32(g))
	}
	home := u.Home
	if home == "" {
		home = "/"
	}
	return out, home, nil
}

// userError says where a user or group was looked for.
func userError(want string, err error) error {
	switch {
	case errors.Is(err, user.ErrNoPasswdEntries):
		return fmt.Errorf("user %q: no such user in the container's /etc/passwd", want)
	case errors.Is(err, user.ErrNoGroupEntries):
		return fmt.Errorf("user %q: no such group in the container's /etc/group", want)
	}
	return fmt.Errorf("user %q: %w", want, err)
}

func optional(tree Tree, name string) ([]byte, error) {
	data, err := tree.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the container: %w", name, err)
	}
	return data, nil
}

// Umask parses an octal mask.
func Umask(s string) (*uint32, error) {
	if s == "" {
		s = "0022"
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return nil, fmt.Errorf("umask %q: must be octal, 0000 to 0777", s)
	}
	m := uint32(n)
	return &m, nil
}

func rlimits(ulimits []container.Ulimit) []specs.POSIXRlimit {
	limits := make([]specs.POSIXRlimit, 0, len(ulimits)+1)
	for _, u := range ulimits {
		limits = append(limits, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return limits
}

// hostTime returns the zoneinfo file for --tz.
func hostTime(zone string) ([]byte, error) {
	file := "/etc/localtime"
	if zone != "local" {
		if strings.Contains(zone, "..") || strings.HasPrefix(zone, "/") {
			return nil, fmt.Errorf("tz %q: must be a zone name, such as Europe/Berlin, or local", zone)
		}
		file = "/usr/share/zoneinfo/" + zone
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("tz %q: no such zone on this host (%w)", zone, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil || !bytes.HasPrefix(data, []byte("TZif")) {
		return nil, fmt.Errorf("tz %q: %s is no time zone file", zone, file)
	}
	return data, nil
}

// As returns the OCI user, home directory and capabilities of a process that
// runs as another user than the container's first one.
func As(tree Tree, spec *container.Spec, want string) (specs.User, string, *specs.LinuxCapabilities, error) {
	u, home, err := User(tree, want, spec.Groups)
	if err != nil {
		return specs.User{}, "", nil, err
	}
	caps, err := Capabilities(spec.Privileged, spec.CapAdd, spec.CapDrop)
	if err != nil {
		return specs.User{}, "", nil, err
	}
	return u, home, processCaps(caps, u.UID, spec.CapAdd), nil
}

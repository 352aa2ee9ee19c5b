package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/ocijson"
)

const localtimeFile = "localtime"

// Write makes config.json and the files that it mounts, in dir. dir may be
// another name of in.Dir for the time being: only config.json holds in.Dir.
func Write(dir string, in *Input) error {
	config, err := Config(in)
	if err != nil {
		return err
	}
	data, err := ocijson.Encode(config)
	if err != nil {
		return err
	}
	hosts, err := hosts(in)
	if err != nil {
		return err
	}
	host, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	resolv, err := resolvConf(in.Spec, string(host))
	if err != nil {
		return err
	}
	files := []struct {
		name string
		data []byte
		perm os.FileMode
	}{
		{container.ConfigFile, data, 0o600},
		{container.HostsFile, hosts, 0o644},
		{container.HostnameFile, []byte(Hostname(in.Spec, in.ID) + "\n"), 0o644},
		{container.ResolvFile, resolv, 0o644},
	}
	if in.Spec.Timezone != "" {
		zone, err := hostTime(in.Spec.Timezone)
		if err != nil {
			return err
		}
		files = append(files, struct {
			name string
			data []byte
			perm os.FileMode
		}{localtimeFile, zone, 0o644})
	}
	for _, f := range files {
		// The directory is not committed yet: nobody reads what is half
		// written. Users in the container read it whatever the umask here is.
		path := filepath.Join(dir, f.name)
		if err := errors.Join(os.WriteFile(path, f.data, f.perm), os.Chmod(path, f.perm)); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	return nil
}

// hosts is /etc/hosts of the container: the host's own where the network is
// shared with it, else the loopback's names and the container's.
func hosts(in *Input) ([]byte, error) {
	var b strings.Builder
	name := Hostname(in.Spec, in.ID)
	if in.Spec.Network == "host" {
		if data, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Write(data)
			if len(data) > 0 && data[len(data)-1] != '\n' {
				b.WriteByte('\n')
			}
		}
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", name)
	}
	for _, h := range in.Spec.AddHosts {
		host, ip, ok := strings.Cut(h, ":")
		if !ok || host == "" || strings.ContainsAny(host, " \t\r\n#") || !isAddr(strings.Trim(ip, "[]")) {
			return nil, fmt.Errorf("add-host %q: must be NAME:IP", h)
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(ip, "[]"), host)
	}
	return []byte(b.String()), nil
}

// resolvConf is the host's with the user's settings over it.
func resolvConf(s *container.Spec, host string) ([]byte, error) {
	for _, d := range s.DNS {
		if !isAddr(d) {
			return nil, fmt.Errorf("dns %q: must be an IP address", d)
		}
	}
	var b strings.Builder
	for line := range strings.Lines(host) {
		keyword := ""
		if f := strings.Fields(line); len(f) > 0 {
			keyword = f[0]
		}
		switch {
		case keyword == "nameserver" && len(s.DNS) > 0,
			(keyword == "search" || keyword == "domain") && len(s.DNSSearch) > 0,
			keyword == "options" && len(s.DNSOptions) > 0:
			continue
		}
		b.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	for _, d := range s.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", d)
	}
	if len(s.DNSSearch) > 0 && s.DNSSearch[0] != "." {
		fmt.Fprintf(&b, "search %s\n", strings.Join(s.DNSSearch, " "))
	}
	if len(s.DNSOptions) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(s.DNSOptions, " "))
	}
	return []byte(b.String()), nil
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

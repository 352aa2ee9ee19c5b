package bundle

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthrun/berth/container"
)

func TestHosts(t *testing.T) {
	const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, tt := range []struct {
		name string
		spec container.Spec
		want string // "": an error
	}{
		{"default", container.Spec{}, loopback + "127.0.1.1\t0123456789ab\n"},
		{"hostname", container.Spec{Hostname: "web.example"}, loopback + "127.0.1.1\tweb.example\n"},
		{"add-host", container.Spec{Hostname: "h", AddHosts: []string{"a:10.0.0.1", "b:::1", "c:[fe80::1]"}},
			loopback + "127.0.1.1\th\n10.0.0.1\ta\n::1\tb\nfe80::1\tc\n"},
		{"no address", container.Spec{AddHosts: []string{"a"}}, ""},
		{"no name", container.Spec{AddHosts: []string{":10.0.0.1"}}, ""},
		{"name for an address", container.Spec{AddHosts: []string{"a:b"}}, ""},
		{"two lines", container.Spec{AddHosts: []string{"a:10.0.0.1\n10.0.0.2 b"}}, ""},
		{"two lines in the name", container.Spec{AddHosts: []string{"a\n10.0.0.2 b:10.0.0.1"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := hosts(testInput(t, &tt.spec))
			if tt.want == "" {
				if err == nil {
					t.Errorf("got %q and no error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// With the host's network the host's names hold.
	host, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Skip(err)
	}
	got, err := hosts(testInput(t, &container.Spec{Network: "host", AddHosts: []string{"a:10.0.0.1"}}))
	if err != nil || !strings.HasPrefix(string(got), string(host)) || !strings.HasSuffix(string(got), "\n10.0.0.1\ta\n") {
		t.Errorf("network host: got %q, %v", got, err)
	}
}

func TestResolvConf(t *testing.T) {
	const host = "# comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2\n  nameserver 10.0.0.3\nsearch a b\ndomain c\noptions\tndots:2\nsortlist 1.2.3.4"
	for _, tt := range []struct {
		name string
		spec container.Spec
		want string
	}{
		{"host's", container.Spec{}, host + "\n"},
		{"dns", container.Spec{DNS: []string{"1.1.1.1", "2001::1"}}, "# comment\nsearch a b\ndomain c\noptions\tndots:2\nsortlist 1.2.3.4\nnameserver 1.1.1.1\nnameserver 2001::1\n"},
		{"search", container.Spec{DNSSearch: []string{"x", "y"}}, "# comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2\n  nameserver 10.0.0.3\noptions\tndots:2\nsortlist 1.2.3.4\nsearch x y\n"},
		{"no search", container.Spec{DNSSearch: []string{"."}}, "# comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2\n  nameserver 10.0.0.3\noptions\tndots:2\nsortlist 1.2.3.4\n"},
		{"options", container.Spec{DNSOptions: []string{"ndots:1", "rotate"}}, "# comment\nnameserver 10.0.0.1\nnameserver\t10.0.0.2\n  nameserver 10.0.0.3\nsearch a b\ndomain c\nsortlist 1.2.3.4\noptions ndots:1 rotate\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resolvConf(&tt.spec, host)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got, err := resolvConf(&container.Spec{}, ""); err != nil || len(got) != 0 {
		t.Errorf("a host without one: got %q, %v", got, err)
	}
	for _, bad := range []string{"", "example.org", "1.1.1.1 2.2.2.2", "1.1.1.1\nnameserver 2.2.2.2"} {
		if _, err := resolvConf(&container.Spec{DNS: []string{bad}}, host); err == nil {
			t.Errorf("dns %q: got no error", bad)
		}
	}
}

func TestWrite(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	in := testInput(t, &container.Spec{Hostname: "h"})
	if err := Write(dir, in); err != nil {
		t.Fatal(err)
	}
	for name, perm := range map[string]os.FileMode{
		container.ConfigFile: 0o600, container.HostsFile: 0o644, container.HostnameFile: 0o644, container.ResolvFile: 0o644,
	} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if st.Mode().Perm() != perm {
			t.Errorf("%s: got mode %o, want %o whatever the umask", name, st.Mode().Perm(), perm)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, container.HostnameFile)); err != nil || string(data) != "h\n" {
		t.Errorf("hostname: got %q, %v", data, err)
	}
}

func TestHostTime(t *testing.T) {
	for _, zone := range []string{"../../etc/passwd", "/etc/passwd", "No/Such", "", ".", "zone.tab", "UTC\x00"} {
		if _, err := hostTime(zone); err == nil {
			t.Errorf("%q: got no error", zone)
		}
	}
	if _, err := os.Stat("/usr/share/zoneinfo/UTC"); err != nil {
		t.Skip("needs zoneinfo")
	}
	if data, err := hostTime("UTC"); err != nil || !strings.HasPrefix(string(data), "TZif") {
		t.Errorf("UTC: got %q, %v", data, err)
	}
}

func TestCommand(t *testing.T) {
	image := &ispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"cmd"}}
	entry := func(s ...string) *[]string { return &s }
	for _, tt := range []struct {
		name  string
		spec  container.Spec
		image *ispec.ImageConfig
		want  []string // nil: ErrNoCommand
	}{
		{"image's", container.Spec{}, image, []string{"/entry", "cmd"}},
		{"arguments", container.Spec{Args: []string{"a", "-it"}}, image, []string{"/entry", "a", "-it"}},
		{"entry point drops the image's arguments", container.Spec{Entrypoint: entry("/mine")}, image, []string{"/mine"}},
		{"both", container.Spec{Entrypoint: entry("/mine", "-x"), Args: []string{"a"}}, image, []string{"/mine", "-x", "a"}},
		{"entry point of none", container.Spec{Entrypoint: entry(), Args: []string{"a"}}, image, []string{"a"}},
		{"nothing left", container.Spec{Entrypoint: entry()}, image, nil},
		{"nothing", container.Spec{}, new(ispec.ImageConfig), nil},
		{"empty", container.Spec{Args: []string{""}}, new(ispec.ImageConfig), nil},
		{"arguments alone", container.Spec{Args: []string{"a"}}, new(ispec.ImageConfig), []string{"a"}},
		{"empty argument", container.Spec{Args: []string{"a", ""}}, new(ispec.ImageConfig), []string{"a", ""}},
	} {
		got, err := Command(&tt.spec, tt.image)
		if tt.want == nil {
			if !errors.Is(err, ErrNoCommand) {
				t.Errorf("%s: got %q, %v, want ErrNoCommand", tt.name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
	if diff := cmp.Diff([]string{"/entry"}, image.Entrypoint); diff != "" {
		t.Errorf("the image was changed:\n%s", diff)
	}
}

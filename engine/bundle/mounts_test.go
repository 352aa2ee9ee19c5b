package bundle

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
)

func places(t *testing.T, s *container.Spec) []string {
	t.Helper()
	var list []string
	for _, m := range testConfig(t, s).Mounts {
		list = append(list, m.Destination)
	}
	return list
}

// Parents before children, whoever asked for which.
func TestMountOrder(t *testing.T) {
	tmpfs := func(dests ...string) (list []container.Mount) {
		for _, d := range dests {
			list = append(list, container.Mount{Type: "tmpfs", Destination: d})
		}
		return list
	}
	for name, s := range map[string]container.Spec{
		"none":              {},
		"init under /run":   {Init: true, Mounts: tmpfs("/run")},
		"hosts under /etc":  {Timezone: "UTC", Mounts: tmpfs("/etc")},
		"cgroup under /sys": {Mounts: tmpfs("/sys")},
		"/proc":             {Mounts: tmpfs("/proc/x", "/proc")},
		"deep":              {Mounts: tmpfs("/a/b/c", "/a", "/a/b/", "/b", "/a//b/x")},
		"below our files":   {Mounts: tmpfs("/etc/hosts/x")},
	} {
		t.Run(name, func(t *testing.T) {
			list := places(t, &s)
			for i, parent := range list {
				for _, child := range list[:i] {
					if len(child) > len(parent) && child[:len(parent)+1] == parent+"/" {
						t.Errorf("%s comes after %s: %q", parent, child, list)
					}
				}
			}
			if slices.Contains(list, "") {
				t.Errorf("%q", list)
			}
		})
	}
	got := places(t, &container.Spec{Init: true, Mounts: tmpfs("/run", "/etc/ssl", "/data")})
	want := []string{
		"/proc", "/dev", "/sys", "/run", "/data", "/dev/pts", "/dev/mqueue", "/dev/shm",
		"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/berth-init", "/etc/ssl", "/sys/fs/cgroup",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestMountsReplaced(t *testing.T) {
	bindTo := func(dest string) *container.Spec {
		return &container.Spec{Mounts: []container.Mount{{Type: "bind", Source: "/dev", Destination: dest}}}
	}
	for _, dest := range []string{"/etc/hosts", "/etc/../etc/resolv.conf", "/dev/shm", "/proc", "/sys/fs/cgroup/"} {
		c := testConfig(t, bindTo(dest))
		var found []specs.Mount
		for _, m := range c.Mounts {
			if m.Destination == specClean(dest) {
				found = append(found, m)
			}
		}
		if len(found) != 1 || found[0].Source != "/dev" {
			t.Errorf("%s: got %+v, want the user's alone", dest, found)
		}
	}
	// The user's /dev has all that is below it.
	if diff := cmp.Diff([]string{"/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/sys/fs/cgroup"}, places(t, bindTo("/dev"))); diff != "" {
		t.Errorf("/dev (-want +got):\n%s", diff)
	}
}

func specClean(dest string) string {
	m, _ := userMount(container.Mount{Type: "tmpfs", Destination: dest})
	return m.Destination
}

func TestUserMount(t *testing.T) {
	for _, tt := range []struct {
		in   container.Mount
		want specs.Mount
	}{
		{container.Mount{Type: "bind", Source: "/", Destination: "/x"},
			specs.Mount{Destination: "/x", Type: "bind", Source: "/", Options: []string{"rbind", "rprivate"}}},
		{container.Mount{Type: "bind", Source: "/", Destination: "/x/", Options: []string{"ro"}},
			specs.Mount{Destination: "/x", Type: "bind", Source: "/", Options: []string{"ro", "rbind", "rprivate"}}},
		{container.Mount{Type: "bind", Source: "/", Destination: "/x", Options: []string{"bind", "rshared"}},
			specs.Mount{Destination: "/x", Type: "bind", Source: "/", Options: []string{"bind", "rshared"}}},
		{container.Mount{Type: "bind", Source: "/", Destination: "/x", Options: []string{"slave", "ro"}},
			specs.Mount{Destination: "/x", Type: "bind", Source: "/", Options: []string{"slave", "ro", "rbind"}}},
		{container.Mount{Type: "bind", Source: "/", Destination: "/a=b,c=d"},
			specs.Mount{Destination: "/a=b,c=d", Type: "bind", Source: "/", Options: []string{"rbind", "rprivate"}}},
		{container.Mount{Type: "tmpfs", Destination: "/x"},
			specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "rw"}}},
		{container.Mount{Type: "tmpfs", Destination: "/x", Options: []string{"size=1m", "exec", "mode=0700"}},
			specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "size=1m", "exec", "mode=0700"}}},
	} {
		options := slices.Clone(tt.in.Options)
		got, err := userMount(tt.in)
		if err != nil {
			t.Errorf("%+v: %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.in, diff)
		}
		if !slices.Equal(options, tt.in.Options) {
			t.Errorf("%+v: the options of the spec were changed", tt.in)
		}
	}
}

package engine

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berthrun/berth/config"
	"github.com/berthrun/berth/container"
)

// configAt is a configuration whose files are below dir.
func configAt(dir string) *config.Config {
	c := config.Default()
	c.Root, c.Run = dir+"/lib", dir+"/run"
	return c
}

func testHost(t testing.TB) *Host {
	t.Helper()
	// The path of a socket has 107 bytes, unix(7): t.TempDir is too long.
	dir, err := os.MkdirTemp("/tmp", "berth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h, err := Open(configAt(dir))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFilters(t *testing.T) {
	h := testHost(t)
	other := testRecord("other")
	other.ID = container.NewID()
	other.Created = time.Unix(1e9+10, 0)
	if err := h.Containers.Create(other, nil); err != nil {
		t.Fatal(err)
	}
	r := testRecord("web-1")
	r.Labels = map[string]string{"app": "web", "empty": "", "eq": "a=b"}
	r.Mounts = []container.Mount{{Type: "bind", Source: "/srv/data", Destination: "/data"}}
	r.Restart.Name = "always"
	r.Spec.Network = "host"
	s := &Summary{Record: r, State: container.Exited, Exit: &container.Exit{Code: p(137)}}
	created := &Summary{Record: testRecord("x"), State: container.Created}
	for _, tt := range []struct {
		filters string // with blanks between them
		want    bool
	}{
		{"", true},
		{"id=0123", true}, {"id=" + testID, true}, {"id=123", false},
		{"name=web", true}, {"name=web-1", true}, {"name=b-", true}, {"name=nginx", false},
		{"name=^web", true}, {"name=^eb", false}, {"name=^web-1$", true}, {"name=^web$", false}, {"name=w.b-[0-9]", true}, {"name=^(db|web-1)$", true}, {"name=^/web-1$", true}, {"name=", true},
		{"label=app", true}, {"label=app=web", true}, {"label=app=", false}, {"label=empty", true}, {"label=empty=", true}, {"label=eq=a=b", true}, {"label=none", false},
		{"label=app label=empty", true}, {"label=app label=none", false}, // every one must hold
		{"label!=none", true}, {"label!=app", false}, {"label!=app=other", true},
		{"name=nginx name=web", true}, {"name=nginx name=x", false}, // alternatives
		{"name=web label=none", false}, {"name=web status=exited", true},
		{"status=exited", true}, {"status=stopped", true}, {"status=running", false}, {"status=running status=exited", true},
		{"exited=137", true}, {"exited=0", false}, {"exited=0 exited=137", true},
		{"ancestor=localhost:5000/nginx", true}, {"ancestor=localhost:5000/nginx:latest", true}, {"ancestor=localhost:5000/nginx:1", false},
		{"ancestor=localhost:5000/ngin", false}, {"ancestor=abcdef", true}, {"ancestor=sha256:abcdef0123", true}, {"ancestor=bcdef", false}, {"ancestor=", false},
		{"network=host", true}, {"network=none", false},
		{"volume=/data", true}, {"volume=/data/", true}, {"volume=/srv/data", true}, {"volume=/srv", false},
		{"restart-policy=always", true}, {"restart-policy=no", false},
		{"before=other", true}, {"since=other", false}, {"before=" + other.ID[:12], true},
		{"until=1s", true}, {"until=2001-09-09T01:46:41Z", true}, {"until=2001-09-09T01:46:40Z", false},
	} {
		f, err := ParseFilters(h, strings.Fields(tt.filters))
		if err != nil {
			t.Errorf("%s: %v", tt.filters, err)
			continue
		}
		if got := f.Match(s); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.filters, got, tt.want)
		}
	}
	// One that never ran has no exit code, and the defaults have names.
	for filter, want := range map[string]bool{"exited=0": false, "network=none": true, "restart-policy=no": true, "status=created": true, "status=exited": false} {
		f, err := ParseFilters(h, []string{filter})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(created); got != want {
			t.Errorf("%s, of a container that never ran: got %t, want %t", filter, got, want)
		}
	}
	for _, bad := range []string{"", "name", "nome=x", "=x", "status=up", "status=", "exited=x", "exited=", "before=missing", "until=x", "Label=x", "name=(", "name=*"} {
		if _, err := ParseFilters(h, []string{bad}); err == nil || !strings.Contains(err.Error(), "filter") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	for filter, want := range map[string]bool{"status=exited": true, "exited=0": true, "name=x": false} {
		if f, err := ParseFilters(h, []string{filter}); err != nil || f.StatusAsked() != want {
			t.Errorf("%s: got %v, %v", filter, f, err)
		}
	}
}

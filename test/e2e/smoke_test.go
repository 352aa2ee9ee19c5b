package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestSystemdIsTheLanes(t *testing.T) {
	l := Lane(t)
	if got := output(t, "systemctl", "is-system-running"); got != "running" {
		t.Errorf("systemd is %q, want running\n%s", got, output(t, "systemctl", "--failed"))
	}
	got := strings.Fields(output(t, "systemctl", "--version"))[1]
	if got != strconv.Itoa(l.Systemd) {
		t.Errorf("systemd %s, want %d", got, l.Systemd)
	}
}

func TestCgroupIsVersion2(t *testing.T) {
	l := Lane(t)
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Fatalf("/sys/fs/cgroup has type %#x, want cgroup2", st.Type)
	}
	if !l.VM {
		return
	}
	data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		t.Fatal(err)
	}
	have := strings.Fields(string(data))
	for _, want := range []string{"cpu", "cpuset", "io", "memory", "pids"} {
		if !slices.Contains(have, want) {
			t.Errorf("no controller %s: have %s", want, have)
		}
	}
}

func TestStorageIsNoOverlay(t *testing.T) {
	Lane(t)
	for _, dir := range []string{"/var/lib/berth", "/var/lib/containers"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
			t.Errorf("%s is on an overlay", dir)
		}
	}
}

func TestJournalKeepsWhatIsLogged(t *testing.T) {
	Lane(t)
	output(t, "systemd-run", "--wait", "--quiet", "--unit=e2e-journal", "echo", "seen by the journal")
	output(t, "journalctl", "--sync")
	if got := output(t, "journalctl", "--unit=e2e-journal", "--identifier=echo", "--output=cat"); got != "seen by the journal" {
		t.Errorf("journal has %q", got)
	}
}

func TestRegistryServesTheImages(t *testing.T) {
	Lane(t)
	var catalog struct{ Repositories []string }
	if err := json.Unmarshal(get(t, "http://localhost:5000/v2/_catalog", http.StatusOK), &catalog); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"busybox", "nginx", "redis", "debian", "big", "multi"} {
		if !slices.Contains(catalog.Repositories, want) {
			t.Errorf("no image %s: have %s", want, catalog.Repositories)
		}
	}
	get(t, "http://localhost:5001/v2/", http.StatusUnauthorized)
	get(t, "http://berth:secret@localhost:5001/v2/", http.StatusOK)
}

func get(t *testing.T, url string, want int) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Fatalf("%s: %s, want %d", url, resp.Status, want)
	}
	return body
}

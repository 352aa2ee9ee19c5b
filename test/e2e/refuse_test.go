package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Without systemd there is one clear line, and nothing is left.
func TestNoSystemd(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	hidden := func(args string) result {
		h.Helper()
		return h.start(nil, "unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run/systemd && mount -t tmpfs none /run/dbus && exec berth "+args).end()
	}
	h.ok("create", "--name", "here", busybox, "sleep", "1000")
	for _, args := range []string{"run --rm " + busybox + " true", "run -d " + busybox + " true", "start here", "ps", "stop here"} {
		h.refused(hidden(args), 125, "systemd")
	}
	h.ok("rm", "here")
	h.nothingLeft()
}

func TestNotRoot(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("create", "--name", "here", busybox, "sleep", "1000")
	nobody := func(args ...string) result {
		h.Helper()
		return h.start(func(c *exec.Cmd) {
			c.Dir = "/"
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}, "berth", args...).end()
	}
	for _, args := range [][]string{
		{"run", "--rm", busybox, "true"}, {"ps", "-a"}, {"images"}, {"pull", busybox}, {"start", "here"}, {"rm", "here"}, {"inspect", "here"},
	} {
		h.refused(nobody(args...), 125, "root")
	}
	if r := nobody("version"); r.code != 0 {
		h.Error(r)
	}
	h.want(0, "here\n", "rm", "here")
	h.nothingLeft()
}

// fullDisk is a small file system to keep containers and images on.
func (h *host) fullDisk(size string) string {
	h.Helper()
	dir := h.TempDir()
	if r := h.sh("mount -t tmpfs -o size=" + size + " small " + dir); r.code != 0 {
		h.Fatal(r)
	}
	for _, m := range mountPoints() {
		if strings.HasPrefix(m, dir+" ") {
			baseline()[m] = true // it is no container's
		}
	}
	h.Cleanup(func() { h.sh("umount -l " + dir) })
	return dir
}

func TestFullDisk(t *testing.T) {
	h := product(t)
	dir := h.fullDisk("8m")
	big := registry + "big"
	h.refused(h.berth("--root", dir, "pull", "-q", big), 125, "no space")
	// What was fetched may stay for the next pull; a small image has room again all the same, once asked for.
	h.berth("--root", dir, "image", "prune", "-f")
	if r := h.berth("--root", dir, "pull", "-q", busybox); r.code != 0 {
		h.Fatal(r)
	}
	if r := h.berth("--root", dir, "run", "--rm", busybox, "true"); r.code != 0 {
		h.Error(r)
	}
	// No room for a record.
	if r := h.sh("dd if=/dev/zero of=" + dir + "/fill bs=4k 2>/dev/null; true"); r.code != 0 {
		h.Fatal(r)
	}
	before := h.sh("find " + dir + " | sort").stdout
	for _, args := range [][]string{{"run", "--rm", busybox, "true"}, {"run", "-d", busybox, "true"}, {"create", busybox, "true"}} {
		h.refused(h.berth(append([]string{"--root", dir}, args...)...), 125, "no space")
	}
	if after := h.sh("find " + dir + " | sort").stdout; after != before {
		h.Errorf("left on the full disk:\n%s\nbefore:\n%s", after, before)
	}
}

// A container that fills the disk does so for itself: its status and its end are known.
func TestFullDiskWhileRunning(t *testing.T) {
	h := product(t)
	dir := h.fullDisk("12m")
	if r := h.berth("--root", dir, "pull", "-q", busybox); r.code != 0 {
		h.Fatal(r)
	}
	r := h.berth("--root", dir, "run", "--name", "filler", "--log-driver", "k8s-file", busybox, "sh", "-c", "dd if=/dev/zero of=/fill bs=4k 2>/dev/null; echo full; exit 3")
	if r.code != 3 || r.stdout != "full\n" {
		h.Errorf("%v\nwant 3", r)
	}
	if r := h.berth("--root", dir, "rm", "filler"); r.code != 0 {
		h.Error(r)
	}
	if left := glob(dir + "/containers/*"); len(left) > 0 {
		h.Errorf("left: %s", left)
	}
}

// Records that are damaged hurt nobody else, and can be removed.
func TestDamagedRecord(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	id := h.ok("create", "--name", "broken", busybox, "true")
	h.ok("run", "-d", "--name", "whole", busybox, "sleep", "1000")
	write(t, filepath.Join(root, "containers", id, "record.json"), "{\"ID\": \"x")
	r := h.berth("ps", "-a", "--format", "{{.Names}}")
	if !strings.Contains(r.stdout, "whole\n") || !strings.Contains(r.stderr, id[:12]) {
		h.Errorf("%v\nwant the other container, and a word on which record is damaged", r)
	}
	h.want(0, "hi\n", "exec", "whole", "echo", "hi")
	if r := h.berth("start", "broken"); r.code != 125 {
		h.Error(r)
	}
	h.refuse(125, []string{"rm -f"}, "rm", "broken")
	h.want(0, "broken\n", "rm", "-f", "broken")

	// Whatever is damaged, and while it runs.
	for _, file := range []string{"record.json", "exit.json", "started.json"} {
		script := "[ -e /again ] && exec sleep 1000; touch /again"
		h.want(0, "", "run", "--name", "torn", "--stop-timeout", "0", busybox, "sh", "-c", script)
		id := h.ok("inspect", "--format", "{{.Id}}", "torn")
		h.ok("start", "torn")
		path := filepath.Join(root, "containers", id, file)
		if file == "started.json" {
			path = filepath.Join(run, id, file)
		}
		write(t, path, "{")
		h.want(0, "torn\n", "rm", "-f", "-t", "0", "torn")
	}
	for range 2 {
		h.ok("run", "-d", "--stop-timeout", "0", busybox, "sleep", "1000")
	}
	for _, path := range glob(root + "/containers/*/record.json") {
		write(t, path, "")
	}
	if r := h.berth("rm", "-fa", "-t", "0"); r.code != 0 || strings.Count(r.stdout, "\n") != 3 {
		h.Errorf("%v\nwant three removed", r)
	}
	h.nothingLeft()
}

// What is mounted over and written by the outside stays what it was.
func TestNothingOfTheHostIsTouched(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	dir := t.TempDir()
	write(t, dir+"/file", "mine\n")
	h.ok("run", "--rm", "-v", dir+":/data", busybox, "true")
	h.ok("run", "--rm", "-v", dir+"/file:/etc/hosts:ro", busybox, "true")
	h.ok("run", "--rm", "-v", "/:/host:ro", busybox, "true")
	h.ok("run", "--rm", "--rootfs", "/", "true")
	if data, err := os.ReadFile(dir + "/file"); err != nil || string(data) != "mine\n" {
		h.Errorf("%q, %v", data, err)
	}
	h.nothingLeft()
}

// The everyday program becomes the whole one for what it lacks, and says so
// where that is not installed.
func TestWholeProgram(t *testing.T) {
	h := product(t)
	for _, args := range [][]string{{"pull", busybox}, {"load", "-i", "/dev/null"}, {"save", busybox}, {"run", "--rm", "localhost:1/nosuch", "true"}} {
		r := h.start(func(c *exec.Cmd) { c.Env = append(os.Environ(), "BERTH_LIBEXEC=/nosuch") }, "berth", args...).end()
		if r.code != 125 || r.stdout != "" || !strings.Contains(r.stderr, "execute /nosuch/berth-full: no such file or directory") {
			h.Errorf("%v\nwant 125, and what is missing", r)
		}
	}
	if r := h.berth("run", "--rm", "localhost:1/nosuch", "true"); r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "refused the connection") {
		h.Errorf("%v\nwant 125 and one line of the registry", r)
	}
	h.nothingLeft()
}

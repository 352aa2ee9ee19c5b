package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const nginx = registry + "nginx"

// fetch gets a page of the container that has the host's network.
func fetch(path string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://127.0.0.1" + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// serves waits until nginx answers.
func (h *host) serves() {
	h.Helper()
	h.eventually("nginx", func() error {
		body, err := fetch("/")
		if err == nil && !strings.Contains(body, "Welcome to nginx") {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
}

// silent waits until nobody listens any more.
func (h *host) silent() {
	h.Helper()
	h.eventually("silence of nginx", func() error {
		if body, err := fetch("/"); err == nil {
			return fmt.Errorf("it says %q", body)
		}
		return nil
	})
}

func TestWebServer(t *testing.T) {
	h := product(t)
	since := fmt.Sprintf("journalctl --sync; journalctl --no-pager --since @%d ", time.Now().Unix())
	h.berth("rmi", "-f", nginx)
	if r := h.berth("pull", nginx); r.code != 0 || !strings.Contains(r.stdout+r.stderr, "layer") {
		h.Fatalf("%v\nwant a word on each layer", r)
	}
	id := h.ok("run", "-d", "--name", "web", "--network", "host", nginx)
	if len(id) != 64 {
		h.Errorf("run -d prints %q, want an ID", id)
	}
	h.serves()

	status := h.systemctl("status", "--no-pager", "berth-web").stdout
	for _, want := range []string{"active (running)", "berth-shim", "nginx: master", "nginx: worker", "supervisor", "container"} {
		if !strings.Contains(status, want) {
			h.Errorf("systemctl status has no %q:\n%s", want, status)
		}
	}
	if got := h.property("berth-web.service", "Slice"); got != "machine-berth.slice" {
		h.Errorf("the unit is in %s", got)
	}

	// Both logs agree: what nginx wrote, in order.
	for i := range 20 {
		if _, err := fetch(fmt.Sprintf("/?request-%02d", i)); err != nil {
			h.Fatal(err)
		}
	}
	requests := func(text string) (list []string) {
		for line := range strings.Lines(text) {
			if strings.Contains(line, "/?request-") {
				list = append(list, strings.TrimSpace(line))
			}
		}
		return list
	}
	var ours []string
	h.eventually("log", func() error {
		if ours = requests(h.ok("logs", "web")); len(ours) != 20 {
			return fmt.Errorf("%d requests in it", len(ours))
		}
		return nil
	})
	journal := requests(h.sh(since + "-o cat -u berth-web").stdout)
	if diff := cmp.Diff(ours, journal); diff != "" {
		h.Errorf("berth logs (-) and journalctl -u berth-web (+):\n%s", diff)
	}
	for i := range 20 { // in whatever order nginx's workers wrote them
		if want := fmt.Sprintf("/?request-%02d ", i); strings.Count(strings.Join(ours, "\n"), want) != 1 {
			h.Errorf("the log has not one %s:\n%s", want, strings.Join(ours, "\n"))
		}
	}
	other := requests(h.sh(since + "-o cat -u container@web").stdout)
	if len(other) != 20 {
		h.Errorf("journalctl -u container@web has %d requests, want those of the same container", len(other))
	}
	if got := h.sh(since + "-o json -n 1 -u berth-web CONTAINER_ID_FULL=" + id).stdout; !strings.Contains(got, `"IMAGE_NAME"`) ||
		!strings.Contains(got, `"CONTAINER_NAME":"web"`) || !strings.Contains(got, `"PRIORITY":"6"`) {
		h.Errorf("an entry of stdout: %s", got)
	}

	// Stopped by systemd's own verb, everybody knows.
	if r := h.systemctl("stop", "berth-web"); r.code != 0 {
		h.Fatal(r)
	}
	h.silent()
	h.isState("web", "exited")
	h.want(0, "0\n", "wait", "web")
	if got := h.ok("ps", "-a", "--format", "{{.Names}} {{.Status}}"); !strings.HasPrefix(got, "web Exited (0)") {
		h.Errorf("ps -a says %q", got)
	}
	h.want(0, "NAMES\n", "ps", "--format", "table {{.Names}}")
	if got := requests(h.ok("logs", "web")); len(got) != 20 {
		h.Errorf("the log of the stopped container has %d requests", len(got))
	}

	// The other door.
	if r := h.systemctl("start", "container@web"); r.code != 0 {
		h.Fatal(r)
	}
	h.serves()
	h.isState("web", "running")
	if got := h.ok("inspect", "--format", "{{.Unit}}", "web"); got != "container@web.service" {
		h.Errorf("inspect says it runs as %s", got)
	}
	if got := h.ok("exec", "web", "cat", "/proc/1/comm"); got != "nginx" {
		h.Errorf("process 1 is %q", got)
	}
	// A container runs in one place at a time: it is started already.
	h.want(0, "web\n", "start", "web")
	if got := h.ok("inspect", "--format", "{{.Unit}}", "web"); got != "container@web.service" {
		h.Errorf("after a start by the first door inspect says it runs as %s", got)
	}
	h.serves()
	if r := h.systemctl("stop", "container@web"); r.code != 0 {
		h.Fatal(r)
	}
	h.silent()
	h.isState("web", "exited")

	h.want(0, "web\n", "start", "web")
	h.serves()
	h.systemctl("start", "container@web") // a skipped condition is no failure, to systemd
	if got := h.property("container@web.service", "ActiveState"); got != "inactive" {
		h.Errorf("container@web is %s while the container runs as berth-web", got)
	}
	if got := h.sh(since + "-o cat -u container@web").stdout; !strings.Contains(got, "berth-web.service") {
		h.Errorf("the journal of container@web does not say where it runs:\n%s", got)
	}
	h.serves()
	h.want(0, "web\n", "restart", "web")
	h.serves()
	h.want(0, "web\n", "stop", "web")
	h.silent()
	h.want(0, "web\n", "rm", "web")
	h.nothingLeft()
}

// Doors started at the same time: one container runs, not two.
func TestBothDoorsAtOnce(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("create", "--name", "two", "--pid", "host", busybox, "sh", "-c", "echo begun; exec sleep 4242")
	for range 5 {
		a := h.start(nil, "berth", "start", "two")
		b := h.start(nil, "systemctl", "start", "container@two")
		ra, rb := a.end(), b.end()
		h.isState("two", "running")
		if got := h.sh("pgrep -fc 'sleep 4242$'").stdout; got != "1\n" {
			h.Errorf("%s processes run instead of one\n%v\n%v", strings.TrimSpace(got), ra, rb)
		}
		h.want(0, "two\n", "stop", "-t", "0", "two")
		h.isState("two", "exited")
		h.eventually("end of both units", func() error {
			for _, u := range []string{"berth-two.service", "container@two.service"} {
				if s := h.property(u, "ActiveState"); s != "inactive" && s != "failed" {
					return fmt.Errorf("%s is %s", u, s)
				}
			}
			return nil
		})
	}
}

// What peers do to the unit is as good as done by berth.
func TestPeersVerbs(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	script := `trap 'echo got usr1' USR1; trap 'echo got term; exit 3' TERM; echo up; while :; do sleep 0.1; done`
	h.ok("run", "-d", "--name", "peer", busybox, "sh", "-c", script)
	h.logs("peer", "up")
	unit := "berth-peer.service"

	if r := h.systemctl("set-property", "--runtime", unit, "TasksMax=300"); r.code != 0 {
		h.Error(r)
	}
	if got := h.property(unit, "TasksMax"); got != "300" {
		h.Errorf("TasksMax=%s after set-property", got)
	}
	h.isState("peer", "running")

	pid := h.shim(unit)
	for _, what := range []string{"daemon-reload", "daemon-reexec"} {
		if r := h.systemctl(what); r.code != 0 {
			h.Error(r)
		}
		h.eventually(what, func() error {
			if got := h.property(unit, "ActiveState"); got != "active" {
				return fmt.Errorf("unit is %q", got)
			}
			return nil
		})
		if h.stateOf("peer") != "running" || h.shim(unit) != pid {
			h.Errorf("after %s the container is %s, its shim %d, want %d", what, h.stateOf("peer"), h.shim(unit), pid)
		}
		h.want(0, "hi\n", "exec", "peer", "echo", "hi")
	}
	// A shim that dies after that still finds what systemd has kept for it.
	h.killShim(unit)
	h.want(0, "hi\n", "exec", "peer", "echo", "hi")

	// The shim hands signals on.
	if r := h.systemctl("kill", "--signal=USR1", "--kill-whom=main", unit); r.code != 0 {
		h.Error(r)
	}
	h.logs("peer", "got usr1")
	if r := h.systemctl("kill", "--signal=TERM", "--kill-whom=main", unit); r.code != 0 {
		h.Error(r)
	}
	h.isState("peer", "exited")
	h.want(0, "3\n", "wait", "peer")
	h.want(0, "peer\n", "rm", "peer")
	h.nothingLeft()
}

// systemctl restart of a transient unit: systemd keeps it loaded for the time of its job, so that it starts again.
func TestSystemctlRestart(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("run", "-d", "--name", "again", busybox, "sh", "-c", `trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done`)
	first := h.shim("berth-again.service")
	if r := h.systemctl("restart", "berth-again"); r.code != 0 {
		h.Fatal(r)
	}
	h.isState("again", "running")
	if now := h.shim("berth-again.service"); now == first || now == 0 {
		h.Errorf("main process %d after a restart, was %d", now, first)
	}
	h.want(0, "hi\n", "exec", "again", "echo", "hi")
	h.eventually("log of both runs", func() error {
		if got := h.ok("logs", "again"); got != "up\nup" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	h.want(0, "again\n", "rm", "-f", "again")
	h.nothingLeft()
}

// logs waits for text in the container's log.
func (h *host) logs(name, text string) {
	h.Helper()
	h.eventually("log of "+name, func() error {
		if got := h.ok("logs", name); !strings.Contains(got, text) {
			return fmt.Errorf("no %q in %s", text, clip(got))
		}
		return nil
	})
}

// Enabled at boot, with what systemctl enable writes and the generator's drop-in.
func TestEnable(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("create", "--name", "boot", "--label", "a=b", "--stop-timeout", "3", busybox, "sleep", "1000")
	if r := h.systemctl("enable", "--now", "container@boot"); r.code != 0 {
		h.Fatal(r)
	}
	h.isState("boot", "running")
	if _, err := os.Stat("/run/systemd/system/container@boot.service.d/50-berth.conf"); err != nil {
		h.Error(err)
	}
	h.ok("rename", "boot", "boot2")
	h.isState("boot2", "running")
	h.want(0, "hi\n", "exec", "boot2", "echo", "hi")
	if r := h.systemctl("disable", "container@boot"); r.code != 0 {
		h.Error(r)
	}
	h.want(0, "boot2\n", "rm", "-f", "-t", "0", "boot2")
	h.nothingLeft()
}

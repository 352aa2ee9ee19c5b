package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// feed runs berth with this standard input.
func (h *host) feed(stdin io.Reader, args ...string) result {
	h.Helper()
	return h.start(func(c *exec.Cmd) { c.Stdin = stdin }, "berth", args...).end()
}

// noise is n bytes that do not repeat.
func noise(n int) []byte {
	data := make([]byte, n)
	src := rand.NewChaCha8(sha256.Sum256([]byte("noise")))
	_, _ = src.Read(data)
	return data
}

func TestStandardInput(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		args := func(more ...string) []string { return append([]string{"run", "--rm", "--runtime", runtime}, more...) }
		if r := h.feed(strings.NewReader("hi\n"), args("-i", busybox, "cat")...); r.code != 0 || r.stdout != "hi\n" || r.stderr != "" {
			h.Error(r)
		}
		if r := h.feed(strings.NewReader("not for it\n"), args(busybox, "cat")...); r.code != 0 || r.stdout != "" {
			h.Errorf("%v\nwant no input without -i", r)
		}
		if r := h.feed(strings.NewReader(""), args("-i", busybox, "sh", "-c", "cat; echo end; exit 3")...); r.code != 3 || r.stdout != "end\n" {
			h.Error(r)
		}
		big := noise(5 << 20)
		if r := h.feed(bytes.NewReader(big), args("-i", busybox, "cat")...); r.code != 0 || r.stdout != string(big) {
			h.Errorf("5 MB in, %d bytes out, exit status %d, %s", len(r.stdout), r.code, r.stderr)
		}
		if r := h.feed(bytes.NewReader(big), args("-i", busybox, "head", "-c", "10")...); r.code != 0 || r.stdout != string(big[:10]) {
			h.Errorf("a command that does not read everything: exit status %d, %d bytes, %s", r.code, len(r.stdout), r.stderr)
		}
		h.nothingLeft()

		h.ok("run", "-d", "--name", "box", "--runtime", runtime, busybox, "sleep", "1000")
		if r := h.feed(bytes.NewReader(big), "exec", "-i", "box", "cat"); r.code != 0 || r.stdout != string(big) {
			h.Errorf("exec: 5 MB in, %d bytes out, exit status %d, %s", len(r.stdout), r.code, r.stderr)
		}
		if r := h.feed(strings.NewReader("not for it\n"), "exec", "box", "cat"); r.code != 0 || r.stdout != "" {
			h.Errorf("%v\nwant no input without -i", r)
		}
	})
}

func TestOutputsAreApart(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for _, driver := range []string{"journald", "k8s-file", "none"} {
		r := h.berth("run", "--name", "two", "--log-driver", driver, busybox, "sh", "-c", "printf 'out without end'; printf 'err without end' >&2")
		if r.code != 0 || r.stdout != "out without end" || r.stderr != "err without end" {
			h.Errorf("%s: %v", driver, r)
		}
		r = h.berth("logs", "two")
		if driver == "none" {
			h.refused(r, 125, "none")
		} else if r.code != 0 || strings.TrimSpace(r.stdout) != "out without end" || strings.TrimSpace(r.stderr) != "err without end" {
			h.Errorf("%s: %v", driver, r)
		}
		h.ok("rm", "two")
	}
}

// Every kind of byte and line comes through, to the client and to the logs.
func TestOddOutput(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	odd := "\n\n  blanks  \n<3>prefix\numläut\n\ttab\n" + strings.Repeat("long ", 10000) + "\nend\n"
	for _, driver := range []string{"journald", "k8s-file"} {
		h.ok("create", "-i", "--name", "odd", "--log-driver", driver, busybox, "cat")
		if r := h.feed(strings.NewReader(odd), "start", "-ai", "odd"); r.code != 0 || r.stdout != odd {
			h.Errorf("%s: %v\nwant %s", driver, r, clip(odd))
		}
		if got := h.berth("logs", "odd").stdout; got != odd {
			h.Errorf("log by %s: %s\nwant %s", driver, clip(got), clip(odd))
		}
		h.want(0, "end\n", "logs", "--tail", "1", "odd")
		h.ok("rm", "odd")
	}
}

// A reader that goes ends the client, silently, as any command in a pipe; the container goes on as after any end of its
// client.
func TestBrokenPipe(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for _, init := range []string{"", "--init "} { // PID 1 of a container minds fewer signals than others
		r := h.sh("berth run --rm --name piped " + init + busybox + " sh -c 'while echo y; do usleep 10000; done; exit 1' | head -n 3; echo ${PIPESTATUS[0]}")
		if r.stdout != "y\ny\ny\n141\n" || r.stderr != "" {
			h.Errorf("%v\nwant three lines, status 141 and not a word", r)
		}
		h.isState("piped", "running")
		h.want(0, "piped\n", "rm", "-f", "-t", "0", "piped")
		h.nothingLeft()
	}
}

func TestManyBytesOut(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	const lines = 30000
	script := fmt.Sprintf("i=0; seq %d; seq %d >&2", lines, lines)
	want := h.sh(fmt.Sprintf("seq %d", lines)).stdout
	for _, driver := range []string{"journald", "k8s-file"} {
		r := h.berth("run", "--name", "many", "--log-driver", driver, busybox, "sh", "-c", script)
		if r.code != 0 || r.stdout != want || r.stderr != want {
			h.Errorf("%s: exit status %d, %d and %d bytes, want %d", driver, r.code, len(r.stdout), len(r.stderr), len(want))
		}
		r = h.berth("logs", "many")
		if r.code != 0 || r.stdout != want || r.stderr != want {
			h.Errorf("log by %s: exit status %d, %d and %d bytes, want %d", driver, r.code, len(r.stdout), len(r.stderr), len(want))
		}
		if got := h.ok("logs", "--tail", "2", "many"); !strings.Contains(got, fmt.Sprint(lines)) && h.berth("logs", "--tail", "2", "many").stderr == "" {
			h.Errorf("logs --tail 2: %q", got)
		}
		h.ok("rm", "many")
	}
}

// Signals to the client reach the container.
func TestSignalProxy(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	script := `trap 'echo got hup' HUP; trap 'echo got usr1' USR1; trap 'echo got term; exit 3' TERM; echo up; while :; do usleep 10000; done`
	fg := h.start(nil, "berth", "run", "--rm", busybox, "sh", "-c", script)
	fg.has("up\n")
	for _, s := range []struct {
		kill, says string
	}{{"HUP", "got hup\n"}, {"USR1", "got usr1\n"}, {"TERM", "got term\n"}} {
		h.sh(fmt.Sprintf("kill -%s %d", s.kill, fg.Process.Pid))
		fg.has(s.says)
	}
	if r := fg.end(); r.code != 3 {
		h.Errorf("%v\nwant 3", r)
	}
	h.nothingLeft()
}

func TestLogsFollow(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for _, driver := range []string{"journald", "k8s-file"} {
		h.ok("run", "-d", "--name", "told", "--log-driver", driver, busybox, "sh", "-c", "echo one; while [ ! -e /go ]; do usleep 10000; done; echo two; exit 3")
		f := h.start(nil, "berth", "logs", "-f", "told")
		f.has("one\n")
		h.ok("exec", "told", "touch", "/go")
		if r := f.end(); r.code != 0 || r.stdout != "one\ntwo\n" {
			h.Errorf("%s: %v", driver, r)
		}
		h.ok("rm", "told")
	}
}

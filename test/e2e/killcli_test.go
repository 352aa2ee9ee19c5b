package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// The client is killed at any moment of a run. After that there is either a container that runs or nothing: nothing at
// all, or, where the kill came between creation and start, never a half of one.
func TestClientKilled(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	// How long a whole run takes here bounds the moments.
	begin := time.Now()
	h.ok("run", "--rm", busybox, "true")
	whole := time.Since(begin)
	var ran, none int
	for i := range 30 {
		var args []string
		switch i % 3 {
		case 0:
			args = []string{"run", "--name", "cut"}
		case 1:
			args = []string{"run", "--name", "cut", "--rm"}
		case 2:
			args = []string{"run", "--name", "cut", "-d"}
		}
		c := h.start(nil, "berth", append(args, busybox, "sh", "-c", "echo up; while [ ! -e /go ]; do usleep 10000; done; exit 7")...)
		moment := rand.N(whole + whole/4)
		time.Sleep(moment)
		_ = c.Process.Kill()
		<-c.ended

		running, left := h.settles("cut")
		if !running {
			none++
			if len(left) > 0 {
				h.Errorf("%d: %s killed after %s: no container runs, but there is\n%s", i, strings.Join(args, " "), moment, strings.Join(left, "\n"))
				h.scrub()
			}
			continue
		}
		ran++
		h.logs("cut", "up")
		h.want(0, "", "exec", "cut", "touch", "/go")
		if i%3 == 1 {
			h.nothingLeft() // --rm, without a client
			continue
		}
		h.want(0, "7\n", "wait", "cut")
		h.want(0, "cut\n", "rm", "cut")
		h.nothingLeft()
	}
	h.Logf("a run takes %s; %d of 30 containers ran on, %d never were", whole, ran, none)
}

// settles waits until a container runs or nothing is left of it: either may take its time without its client.
func (h *host) settles(name string) (running bool, left []string) {
	h.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		h.ok("ps", "-a") // a berth sweeps what no process holds any more
		if r := h.berth("inspect", "--format", "{{.State.Status}}", name); r.stdout == "running\n" {
			return true, nil
		}
		if left = h.leftovers(); len(left) == 0 {
			return false, nil
		}
	}
	return false, left
}

// The same for create, start, stop and rm: a second go completes what the first began.
func TestVerbsKilled(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for i := range 12 {
		for _, verb := range [][]string{
			{"create", "--name", "cut", "--stop-timeout", "1", busybox, "sleep", "1000"},
			{"start", "cut"},
			{"stop", "-t", "0", "cut"},
			{"restart", "-t", "0", "cut"},
			{"rm", "-f", "-t", "0", "cut"},
		} {
			c := h.start(nil, "berth", verb...)
			time.Sleep(rand.N(40 * time.Millisecond))
			_ = c.Process.Kill()
			<-c.ended
			h.eventually("complete "+verb[0], func() error {
				again := h.berth(verb...)
				switch {
				case again.code == 0:
				case verb[0] == "create" && strings.Contains(again.stderr, "in use"):
				case verb[0] == "start" && strings.Contains(again.stderr, "it runs as"):
				case verb[0] == "rm" && strings.Contains(again.stderr, "no such container"):
				default:
					return fmt.Errorf("round %d: %v", i, again)
				}
				return nil
			})
		}
		h.ok("ps", "-a")
		h.nothingLeft()
	}
}

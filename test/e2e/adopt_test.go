package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// counter is a container's command that writes numbered lines to both outputs until /go is there, and 100 after that,
// and ends with status 7. The lines have blanks at their end, and every tenth is empty.
const counter = `i=0; last=
while [ -z "$last" ] || [ $i -lt $last ]; do
	i=$((i+1)); echo "out $i  "; echo "err $i  " >&2
	[ $((i % 10)) = 0 ] && echo && echo >&2
	if [ -z "$last" ]; then [ -e /go ] && last=$((i+100)); fi
	[ $((i % 5)) = 0 ] && usleep 5000
done
echo "last $i"
exit 7`

// wrote checks that text is what counter wrote to one of its outputs, nothing less and nothing twice. It returns the
// number of lines.
func (h *host) wrote(where, text, stream string) int {
	h.Helper()
	var want strings.Builder
	n := 0
	for strings.Contains(text, fmt.Sprintf("%s %d  \n", stream, n+1)) {
		n++
		fmt.Fprintf(&want, "%s %d  \n", stream, n)
		if n%10 == 0 {
			want.WriteString("\n")
		}
	}
	if stream == "out" {
		fmt.Fprintf(&want, "last %d\n", n)
	}
	if n < 100 {
		h.Errorf("%s: only %d lines of %s: %s", where, n, stream, clip(text))
	}
	if want.String() != text {
		diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(text, "\n"))
		h.Errorf("%s: what was written (-) and what is there of %s (+), %d lines:\n%s", where, stream, n, clip(diff))
	}
	return n
}

// storm kills the shim n times: in a row as fast as systemd starts new ones, or with pauses.
func (h *host) storm(unit string, n int, pause func() time.Duration) {
	h.Helper()
	old := 0
	for range n {
		h.eventually("next shim", func() error {
			pid := h.shim(unit)
			if pid == 0 || pid == old {
				return fmt.Errorf("main process is %d", pid)
			}
			old = pid
			return nil
		})
		time.Sleep(pause())
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			h.Errorf("shim %d has gone by itself: %v", old, err)
		}
	}
	h.eventually("last shim", func() error {
		if pid, state := h.shim(unit), h.property(unit, "ActiveState"); pid == 0 || pid == old || state != "active" {
			return fmt.Errorf("main process is %d, unit %s", pid, state)
		}
		return nil
	})
}

func TestShimKilled(t *testing.T) {
	atOnce := func() time.Duration { return 0 }
	random := func() time.Duration { return rand.N(150 * time.Millisecond) }
	runtimes(t, func(t *testing.T, runtime string) {
		for _, driver := range []string{"journald", "k8s-file"} {
			t.Run(driver, func(t *testing.T) {
				h := product(t)
				h.pull(busybox)
				const unit = "berth-survivor.service"
				fg := h.start(nil, "berth", "run", "--name", "survivor", "--runtime", runtime, "--log-driver", driver, busybox, "sh", "-c", counter)
				fg.has("out 1  ")
				pid := h.ok("inspect", "--format", "{{.State.Pid}}", "survivor")
				h.storm(unit, 20, atOnce)
				h.want(0, "hi\n", "exec", "survivor", "echo", "hi")
				h.storm(unit, 10, random)
				h.want(42, "hi\n", "exec", "survivor", "sh", "-c", "echo hi; exit 42")
				if now := h.ok("inspect", "--format", "{{.State.Pid}}", "survivor"); now != pid {
					h.Errorf("the container's process is %s, was %s: it was not adopted", now, pid)
				}
				waiter := h.start(nil, "berth", "wait", "survivor")
				late := h.start(nil, "berth", "attach", "survivor")
				h.storm(unit, 1, random)
				h.want(0, "", "exec", "survivor", "touch", "/go")

				r := fg.end()
				if r.code != 7 {
					h.Errorf("the attached client ends with %d, want 7; stderr ends with %q", r.code, r.stderr[max(0, len(r.stderr)-200):])
				}
				n := h.wrote("attached client", r.stdout, "out")
				h.wrote("attached client", r.stderr, "err")
				if r := waiter.end(); r.code != 0 || r.stdout != "7\n" {
					h.Errorf("%v\nwant 7", r)
				}
				if r := late.end(); r.code != 7 || !strings.HasSuffix(r.stdout, fmt.Sprintf("last %d\n", n)) {
					h.Errorf("attach ends with %d after %q, want 7", r.code, r.stdout[max(0, len(r.stdout)-50):])
				}
				h.want(0, "7\n", "wait", "survivor")
				logs := h.berth("logs", "survivor")
				if m := h.wrote("logs", logs.stdout, "out"); m != n {
					h.Errorf("%d lines in the log, the client got %d", m, n)
				}
				h.wrote("logs", logs.stderr, "err")
				if got := h.ok("ps", "-a", "--format", "{{.Status}}"); !strings.HasPrefix(got, "Exited (7)") {
					h.Errorf("ps says %q", got)
				}
				h.want(0, "survivor\n", "rm", "survivor")
				h.nothingLeft()
			})
		}
	})
}

// The shim of a --rm container is killed: the container still goes at its end, and the client gets its status.
func TestShimKilledRemoves(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for i := range 5 {
		fg := h.start(nil, "berth", "run", "--rm", "-i", "--name", "fleeting", busybox, "sh", "-c", "echo up; while [ ! -e /go ]; do usleep 2000; done; echo end; exit 7")
		fg.has("up\n")
		h.storm("berth-fleeting.service", 1+i%3, func() time.Duration { return rand.N(100 * time.Millisecond) })
		if r := h.berth("exec", "fleeting", "touch", "/go"); r.code != 0 && r.code != 137 { // it may end with the container
			h.Error(r)
		}
		if r := fg.end(); r.code != 7 || r.stdout != "up\nend\n" {
			h.Errorf("%v\nwant 7", r)
		}
		h.nothingLeft()
	}
}

// A container that ends while its shim is dead has its true status all the same.
func TestEndWithoutShim(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for range 5 {
		h.ok("run", "-d", "--name", "orphan", busybox, "sh", "-c", "echo up; while [ ! -e /go ]; do usleep 1000; done; echo end; exit 7")
		h.logs("orphan", "up")
		pid := strings.TrimSpace(h.ok("inspect", "--format", "{{.State.Pid}}", "orphan"))
		h.sh("kill -9 " + fmt.Sprint(h.shim("berth-orphan.service")) + "; touch /proc/" + pid + "/root/go")
		h.want(0, "7\n", "wait", "orphan")
		h.eventually("log", func() error {
			if got := h.ok("logs", "orphan"); got != "up\nend" {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		h.want(0, "orphan\n", "rm", "orphan")
		h.nothingLeft()
	}
}

// A terminal outlives the shim.
func TestShimKilledTerminal(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	p := h.terminal("berth", "run", "-it", "--rm", "--name", "tty", busybox, "sh")
	p.types("echo up-$((40+2))\n", "up-42")
	h.storm("berth-tty.service", 3, func() time.Duration { return 0 })
	p.types("echo again-$((40+2))\n", "again-42")
	p.types("exit 9\n", "")
	if r := p.end(); r.code != 9 {
		h.Errorf("%v\nwant 9", r)
	}
	h.nothingLeft()
}

// systemctl stop in the moment between the shim's death and its restart: nothing of the container remains and nothing
// starts again.
func TestStopBetweenDeathAndRestart(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := product(t)
			args := []string{"run", "-d", "--name", "gap", "--stop-timeout", "1"} // sleep does not care for SIGTERM
			if i%2 == 1 {
				args = append(args, "--rm")
			}
			h.ok(append(args, busybox, "sleep", "4343")...)
			// One connection to systemd for both: there is hardly a way to be faster.
			r := h.sh("kill -9 $(systemctl show --value -p MainPID berth-gap); systemctl stop berth-gap")
			if r.code != 0 {
				h.Error(r)
			}
			h.eventually("end", func() error {
				if got := h.sh("pgrep -f 'sleep 4343$'"); got.code != 1 {
					return fmt.Errorf("process %s", got.stdout)
				}
				if got := h.property("berth-gap.service", "ActiveState"); got != "inactive" && got != "failed" {
					return fmt.Errorf("unit is %s", got)
				}
				return nil
			})
			if i%2 == 1 {
				h.nothingLeft()
				return
			}
			h.isState("gap", "exited")
			time.Sleep(200 * time.Millisecond) // whatever would start it again
			h.isState("gap", "exited")
			h.want(0, "gap\n", "start", "gap")
			h.isState("gap", "running")
			h.want(0, "gap\n", "rm", "-f", "-t", "0", "gap")
			h.nothingLeft()
		})
	}
}

// Attached clients that are killed harm nobody.
func TestAttachedClientsKilled(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("run", "-d", "--name", "busy", busybox, "sh", "-c", counter)
	for range 10 {
		c := h.start(nil, "berth", "attach", "--sig-proxy=false", "busy")
		c.has("out ")
		_ = c.Process.Kill()
		<-c.ended
		// The command goes on, with the client's own output: it lets go of that here.
		e := h.start(nil, "berth", "exec", "busy", "sh", "-c", "echo x; exec >/dev/null 2>&1; sleep 1000")
		e.has("x\n")
		_ = e.Process.Kill()
		<-e.ended
	}
	h.want(0, "", "exec", "busy", "touch", "/go")
	h.want(0, "7\n", "wait", "busy")
	logs := h.berth("logs", "busy")
	h.wrote("logs", logs.stdout, "out")
	h.wrote("logs", logs.stderr, "err")
	h.want(0, "busy\n", "rm", "busy")
	h.nothingLeft()
}

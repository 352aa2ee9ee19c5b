package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a command in a pseudo-terminal of its own.
type terminal struct {
	*command
	master *os.File
}

// terminal starts a command as from a terminal of 80 by 24.
func (h *host) terminal(name string, args ...string) *terminal {
	h.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		h.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		h.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		h.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		h.Fatal(err)
	}
	defer slave.Close()
	p := &terminal{master: master}
	p.resize(h, 80, 24)
	p.command = h.start(func(c *exec.Cmd) {
		c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, name, args...)
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = p.stdout.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	h.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		master.Close()
		<-copied
	})
	return p
}

func (p *terminal) resize(h *host, cols, rows uint16) {
	h.Helper()
	if err := unix.IoctlSetWinsize(int(p.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		h.Fatal(err)
	}
}

// types types keys and waits for an answer that was not there before.
func (p *terminal) types(keys, answer string) {
	p.h.Helper()
	p.answers(keys, len(p.stdout.String()), answer)
}

// answers is types where the answer may come before the keys: it is looked for
// from seen on.
func (p *terminal) answers(keys string, seen int, answer string) {
	p.h.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.h.Fatal(err)
	}
	if answer == "" {
		return
	}
	p.h.eventually(fmt.Sprintf("answer %q to %q", answer, keys), func() error {
		if got := p.stdout.String()[seen:]; !strings.Contains(got, answer) {
			return fmt.Errorf("terminal has %s", clip(got))
		}
		return nil
	})
}

func TestTerminal(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		p := h.terminal("berth", "run", "-it", "--name", "tty", "--runtime", runtime, busybox, "sh")
		p.types("tty; test -t 0 && test -t 1 && test -t 2 && echo is-a-$((40+2))\n", "is-a-42")
		p.types("echo term=$TERM\n", "term=xterm")
		p.types("stty size | sed s/^/size-/\n", "size-24 80")
		p.resize(h, 132, 50)
		h.eventually("new size", func() error {
			seen := len(p.stdout.String())
			p.types("stty size | sed s/^/size-/; echo done-$((1+1))\n", "done-2")
			if got := p.stdout.String()[seen:]; !strings.Contains(got, "size-50 132") {
				return fmt.Errorf("terminal has %s", clip(got))
			}
			return nil
		})
		// Ctrl-C is the container's.
		p.types("sleep 1000\n", "sleep")
		time.Sleep(100 * time.Millisecond)
		p.types("\x03", "")
		p.types("echo alive-$((40+2))\n", "alive-42")

		p.types("v=kept\n", "")
		p.types("\x10\x11", "")
		if r := p.end(); r.code != 0 {
			h.Errorf("%v\nwant 0 after the detach keys", r)
		}
		h.isState("tty", "running")

		q := h.terminal("berth", "attach", "tty")
		q.types("echo v=$v\n", "v=kept")
		q.types("exit 5\n", "")
		if r := q.end(); r.code != 5 {
			h.Errorf("%v\nwant 5", r)
		}
		h.want(0, "5\n", "wait", "tty")

		// Once more, from the record.
		s := h.terminal("berth", "start", "-ai", "tty")
		s.types("echo up-$((40+2))\n", "up-42")
		s.types("exit 6\n", "")
		if r := s.end(); r.code != 6 {
			h.Errorf("%v\nwant 6", r)
		}
		h.want(0, "tty\n", "rm", "tty")
		h.nothingLeft()
	})
}

func TestExecTerminal(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		h.ok("run", "-d", "--name", "box", "--runtime", runtime, busybox, "sleep", "1000")
		p := h.terminal("berth", "exec", "-it", "box", "sh")
		p.types("tty; test -t 0 && test -t 1 && echo is-a-$((40+2))\n", "is-a-42")
		p.types("stty size | sed s/^/size-/\n", "size-24 80")
		p.resize(h, 100, 30)
		h.eventually("new size", func() error {
			seen := len(p.stdout.String())
			p.types("stty size | sed s/^/size-/; echo done-$((1+1))\n", "done-2")
			if got := p.stdout.String()[seen:]; !strings.Contains(got, "size-30 100") {
				return fmt.Errorf("terminal has %s", clip(got))
			}
			return nil
		})
		p.types("exit 8\n", "")
		if r := p.end(); r.code != 8 {
			h.Errorf("%v\nwant 8", r)
		}
		h.isState("box", "running")
	})
}

// What was started with a terminal goes on when its user leaves by the detach
// keys, or never looked, and may write as much as it likes. Who loses its
// terminal hangs it up.
func TestExecTerminalLeft(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		h.ok("run", "-d", "--name", "box", "--runtime", runtime, busybox, "sleep", "1000")
		const busy = "i=0; while sleep 0.05; do i=$((i+1)); yes | head -c 9000; echo $i > /%s; done"
		const rounds = 20 // more than a terminal holds
		count := func(file string) int {
			n, _ := strconv.Atoi(strings.TrimSpace(h.berth("exec", "box", "cat", "/"+file).stdout))
			return n
		}
		goesOn := func(file string) {
			t.Helper()
			before := count(file)
			h.eventually("progress of "+file, func() error {
				if now := count(file); now < before+rounds {
					return fmt.Errorf("at %d, was at %d", now, before)
				}
				return nil
			})
		}

		h.ok("exec", "-dt", "box", "sh", "-c", fmt.Sprintf(busy, "detached"))
		goesOn("detached")

		left := h.terminal("berth", "exec", "-it", "box", "sh")
		left.types(fmt.Sprintf(busy, "left")+"\n", "y\r\ny")
		left.types("\x10\x11", "")
		if r := left.end(); r.code != 0 {
			t.Errorf("%v\nwant 0 after the detach keys", r)
		}
		goesOn("left")

		lost := h.terminal("berth", "exec", "-it", "box", "sh", "-c", "exec sleep 4242")
		h.eventually("start", func() error { return inBox(h, "sleep 4242", 1) })
		_ = lost.Process.Kill()
		lost.end()
		h.eventually("hangup", func() error { return inBox(h, "sleep 4242", 0) })

		h.ok("rm", "-ft0", "box")
		h.nothingLeft()
	})
}

// inBox looks for so many processes in the container box whose ps line ends
// with command.
func inBox(h *host, command string, want int) error {
	n := 0
	for line := range strings.Lines(h.berth("exec", "box", "ps").stdout) {
		if strings.HasSuffix(strings.TrimSpace(line), command) {
			n++
		}
	}
	if n != want {
		return fmt.Errorf("%d of %q, want %d", n, command, want)
	}
	return nil
}

// The terminal that berth was started from is as it was, also after an error and after a kill by SIGTERM.
func TestTerminalRestored(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	p := h.terminal("bash", "--norc", "-i")
	p.types("stty -a > /tmp/before; echo ok-$((1+1))\n", "ok-2")
	p.types("berth run -it --rm "+busybox+" sh\n", "/ #")
	p.types("exit 3\n", "bash-") // what is typed before that is the container's
	p.types("echo status-$?; stty -a > /tmp/after; echo ok-$((2+2))\n", "ok-4")
	p.types("berth run -it --rm --name term "+busybox+" sh\n", "/ #")
	seen := len(p.stdout.String())
	h.ok("kill", "term")
	p.answers("", seen, "bash-")
	p.types("echo status-$?; stty -a > /tmp/after2; echo ok-$((3+3))\n", "ok-6")
	p.types("exit\n", "")
	p.end()
	if got := p.stdout.String(); !strings.Contains(got, "status-3") {
		h.Errorf("no status 3: %s", clip(got))
	}
	if r := h.sh("cmp /tmp/before /tmp/after && cmp /tmp/before /tmp/after2"); r.code != 0 {
		h.Errorf("%v\n%s", r, h.sh("diff /tmp/before /tmp/after; diff /tmp/before /tmp/after2").stdout)
	}
	h.nothingLeft()
}

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the tests start this binary as berth-init itself.
func TestMain(m *testing.M) {
	if os.Getenv("BERTH_INIT_TEST") != "" {
		os.Unsetenv("BERTH_INIT_TEST")
		main()
	}
	os.Exit(m.Run())
}

func initCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "BERTH_INIT_TEST=1")
	return cmd
}

func status(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--", "sh", "-c", "exit 7"}, 7},
		{[]string{"sh", "-c", "kill -9 $$"}, 137},
		{[]string{"-e", "143", "sh", "-c", "kill -TERM $$"}, 0},
		{[]string{"no-such-command"}, 127},
		{[]string{"/no/such/command"}, 127},
		{[]string{"/etc"}, 126},
		{[]string{"-x"}, 1},
		{nil, 1},
		{[]string{"--version"}, 0},
	} {
		if got := status(t, initCommand(c.args...).Run()); got != c.want {
			t.Errorf("%q: got %d, want %d", c.args, got, c.want)
		}
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGTERM: 15, syscall.SIGHUP: 1, syscall.SIGUSR2: 12, syscall.SIGURG: 23} {
		cmd := initCommand("sh", "-c", `trap "exit 15" TERM; trap "exit 1" HUP; trap "exit 12" USR2; trap "exit 23" URG; echo ready; while :; do sleep 0.01; done`)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		buf := make([]byte, 100)
		if _, err := r.Read(buf); err != nil {
			t.Fatal(err)
		}
		cmd.Process.Signal(sig)
		if got := status(t, cmd.Wait()); got != want {
			t.Errorf("%v: got %d, want %d", sig, got, want)
		}
		r.Close()
	}
}

// TestOrphans has the program leave a child behind, which ends after it was
// given to us: as a subreaper, since the test is not PID 1.
func TestOrphans(t *testing.T) {
	cmd := initCommand("-s", "-w", "sh", "-c", "(sleep 0.1 &) ; sleep 0.4")
	var out bytes.Buffer
	cmd.Stderr = &out
	if got := status(t, cmd.Run()); got != 0 || !strings.Contains(out.String(), "reaped orphan") {
		t.Errorf("got %d: %s", got, &out)
	}
}

func TestGroup(t *testing.T) {
	cmd := initCommand("-g", "sh", "-c", `trap : TERM; sh -c 'trap "exit 5" TERM; echo ready; while :; do sleep 0.01; done'; exit $?`)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Process.Signal(syscall.SIGTERM)
	if got := status(t, cmd.Wait()); got != 5 {
		t.Errorf("got %d: the program's child did not get the signal", got)
	}
}

func TestParse(t *testing.T) {
	o, _, ok := parse([]string{"-gvv", "-p", "SIGTERM", "-e3", "-e", "4", "--", "-cmd", "x"})
	if !ok {
		t.Fatal("refused")
	}
	if !o.group || o.verbose != 2 || o.parent != syscall.SIGTERM {
		t.Errorf("got %+v", o)
	}
	if d := cmp.Diff([]string{"-cmd", "x"}, o.args); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[int]bool{3: true, 4: true}, o.remap); d != "" {
		t.Error(d)
	}
}

package shim

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStartCode(t *testing.T) {
	for text, want := range map[string]int{
		"executable file `nosuch` not found in $PATH: No such file or directory":                               127,
		`runc create failed: unable to start container process: exec: "x": executable file not found in $PATH`: 127,
		`exec: "/nosuch": stat /nosuch: no such file or directory`:                                             127,
		"open executable: Operation not permitted":                                                             126,
		`exec: "/etc": is a directory`:                                                                         126,
		`exec: "/x": permission denied`:                                                                        126,
		"exec format error":                                                                                    126,
		"mount `/nosuch` to `/x`: No such file or directory":                                                   125,
		"setrlimit (RLIM_MEMLOCK): Operation not permitted":                                                    125,
		"": 125,
	} {
		if got := startCode(&runtimeError{"create", text}); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	if got := startCode(errors.New("exec: not found")); got != 125 {
		t.Errorf("an error of our own: got %d", got)
	}
}

func TestLastError(t *testing.T) {
	for _, tt := range []struct{ log, want string }{
		{"", ""},
		{"not json\n{}\n", ""},
		{`{"msg":"a","level":"error","time":"x"}` + "\n", "a"},
		{`{"msg":"a","level":"error"}` + "\n" + `{"msg":"b","level":"warning"}`, "a"},
		{`{"msg":"a","level":"error"}` + "\n" + `{"msg":"b\n","level":"error"}`, "b"},
		{`{"msg":"only a warning","level":"warning"}`, "only a warning"},
	} {
		if got := lastError([]byte(tt.log)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.log, got, tt.want)
		}
	}
}

func TestCgroup2Path(t *testing.T) {
	const hybrid = "12:pids:/x\n1:name=systemd:/y\n0::/machine-berth.slice/berth-a.service\n"
	if got, ok := cgroup2Path([]byte(hybrid)); !ok || got != "/machine-berth.slice/berth-a.service" {
		t.Errorf("got %q, %v", got, ok)
	}
	if _, ok := cgroup2Path([]byte("1:name=systemd:/\n")); ok {
		t.Error("found a v2 line where there is none")
	}
}

func TestStartTime(t *testing.T) {
	stat := "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9"
	if got, err := parseStartTime([]byte(stat)); err != nil || got != 4711 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", "7 (a) S", "no name"} {
		if _, err := parseStartTime([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if _, err := startTime(os.Getpid()); err != nil {
		t.Error(err)
	}
}

func TestChildEnv(t *testing.T) {
	got := strings.Join(childEnv([]string{"PATH=/bin", "GOGC=1", "GOTRACEBACK=crash", "GOPATH=/x"}), " ")
	if got != "PATH=/bin GOPATH=/x" {
		t.Errorf("got %q", got)
	}
}

// The status of a process that is another's child.
func TestStrangersStatus(t *testing.T) {
	for _, tt := range []struct {
		script    string
		code, sig int
	}{{"exit 3", 3, 0}, {"kill -TERM $$", 128 + 15, 15}} {
		// The shell in between is the parent and reaps it.
		cmd := exec.Command("sh", "-c", `sh -c 'read x; `+tt.script+`' <&3 & echo $!; wait $!`)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = []*os.File{r}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		b := make([]byte, 20)
		n, _ := out.Read(b)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
		if err != nil {
			t.Fatal(err)
		}
		p, err := openProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(5 * time.Millisecond)
			w.WriteString("\n")
			w.Close()
		}()
		if err := p.gone(); err != nil {
			t.Fatal(err)
		}
		ws, ok := p.status()
		p.f.Close()
		cmd.Wait()
		if !ok {
			if kernelAtLeast(6, 15) {
				t.Fatal("the kernel has PIDFD_INFO_EXIT and no status was found")
			}
			t.Skip("needs PIDFD_INFO_EXIT, Linux 6.15")
		}
		if code, sig := exitCode(ws); code != tt.code || sig != tt.sig {
			t.Errorf("%s: got %d, signal %d", tt.script, code, sig)
		}
	}
}

// A terminal's output reaches the pipe whole, also what was written just
// before its last user closed it.
func TestFeeder(t *testing.T) {
	master, slave := openPty(t)
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.r.Close()
	w, err := pollable(p.w)
	if err != nil {
		t.Fatal(err)
	}
	f := &feeder{tty: master, pipe: w}
	done := make(chan struct{})
	go func() { f.run(); close(done) }()
	got := make(chan int)
	go func() {
		n, b := 0, make([]byte, 4096)
		for {
			m, err := p.r.Read(b)
			n += m
			if err != nil {
				got <- n
				return
			}
		}
	}()
	const lines = 20_000
	text := []byte(strings.Repeat("x", 99) + "\n")
	for range lines {
		if _, err := slave.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	slave.Close()
	f.end()
	<-done
	master.Close()
	if n := <-got; n != lines*101 { // \n became \r\n
		t.Errorf("got %d bytes, want %d", n, lines*101)
	}
}

func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs a terminal: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "master"), slave
}

package notify

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A manager is the receiving end.
type manager struct {
	Manager
	t *testing.T
	c *net.UnixConn
}

func listen(t *testing.T) *manager {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &manager{Manager{path}, t, c}
}

// receive returns one message and its descriptors.
func (m *manager) receive() (string, []*os.File) {
	m.t.Helper()
	m.c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf, oob := make([]byte, 64<<10), make([]byte, 4096)
	n, oobn, _, _, err := m.c.ReadMsgUnix(buf, oob)
	if err != nil {
		m.t.Fatal(err)
	}
	var files []*os.File
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		m.t.Fatal(err)
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			m.t.Fatal(err)
		}
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "")
			m.t.Cleanup(func() { f.Close() })
			files = append(files, f)
		}
	}
	return string(buf[:n]), files
}

func TestSend(t *testing.T) {
	m := listen(t)
	err := m.Send(Ready, Status("a\nb"), Errno(syscall.ENOENT), MainPID(7), Extend(1500*time.Millisecond), Extend(-1))
	if err != nil {
		t.Fatal(err)
	}
	got, files := m.receive()
	want := "READY=1\nSTATUS=a b\nERRNO=2\nMAINPID=7\nEXTEND_TIMEOUT_USEC=1500000\nEXTEND_TIMEOUT_USEC=0"
	if got != want || files != nil {
		t.Errorf("got %q with %d files, want %q", got, len(files), want)
	}
}

func TestStore(t *testing.T) {
	m := listen(t)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("kept")
	files := slices.Repeat([]*os.File{f}, maxPerMessage+1)
	if err := m.Store("pty", files...); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{maxPerMessage, 1} {
		got, fds := m.receive()
		if got != "FDSTORE=1\nFDNAME=pty\nFDPOLL=0" || len(fds) != want {
			t.Fatalf("got %q with %d files, want %d", got, len(fds), want)
		}
		b := make([]byte, 4)
		if _, err := fds[0].ReadAt(b, 0); err != nil || string(b) != "kept" {
			t.Errorf("got %q, %v through the descriptor", b, err)
		}
	}
	if err := m.Remove("pty"); err != nil {
		t.Fatal(err)
	}
	if got, _ := m.receive(); got != "FDSTOREREMOVE=1\nFDNAME=pty" {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"", "a:b", "a\nREADY=1", "é", strings.Repeat("x", 256)} {
		if m.Store(bad, f) == nil || m.Remove(bad) == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
}

func TestBarrier(t *testing.T) {
	m := listen(t)
	done := make(chan error, 1)
	go func() { done <- m.Barrier(10 * time.Second) }()
	got, files := m.receive()
	if got != "BARRIER=1" || len(files) != 1 {
		t.Fatalf("got %q with %d files", got, len(files))
	}
	select {
	case err := <-done:
		t.Fatalf("returned before the manager closed: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	files[0].Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := m.Barrier(time.Millisecond); !errors.Is(err, unix.ETIMEDOUT) {
		t.Errorf("got %v, want ETIMEDOUT", err)
	}
}

func TestNobody(t *testing.T) {
	if err := (Manager{}).Send(Ready); !errors.Is(err, ErrNoManager) {
		t.Errorf("got %v, want ErrNoManager", err)
	}
	if err := (Manager{"vsock:2:1"}).Send(Ready); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("got %v, want EAFNOSUPPORT", err)
	}
	if err := (Manager{filepath.Join(t.TempDir(), "none")}).Send(Ready); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ENOENT", err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name  string
		env   map[string]string
		n     int
		names string
		bad   bool
	}{
		{"nothing", nil, 0, "", false},
		{"two", map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, 2, "a b", false},
		{"somebody else's", map[string]string{"LISTEN_PID": "8", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, 0, "", false},
		{"none", map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "0"}, 0, "", false},
		{"names missing", map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, 0, "", true},
		{"no number", map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "x"}, 0, "", true},
		{"negative", map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, 0, "", true},
		{"huge", map[string]string{"LISTEN_PID": "7", "LISTEN_FDS": "99999999999"}, 0, "", true},
		{"bad watchdog", map[string]string{"WATCHDOG_USEC": "-3"}, 0, "", true},
		{"bad store", map[string]string{"FDSTORE": "many"}, 0, "", true},
	} {
		_, n, names, err := parse(func(k string) string { return c.env[k] }, 7)
		if n != c.n || strings.Join(names, " ") != c.names || (err != nil) != c.bad {
			t.Errorf("%s: got %d %q %v, want %d %q, error %v", c.name, n, names, err, c.n, c.names, c.bad)
		}
	}
	env := map[string]string{"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7", "FDSTORE": "64", "NOTIFY_SOCKET": "@x", "INVOCATION_ID": "ab"}
	in, _, _, err := parse(func(k string) string { return env[k] }, 7)
	if err != nil || in.Watchdog != 1500*time.Millisecond || in.StoreMax != 64 || in.Notify != "@x" || in.InvocationID != "ab" {
		t.Errorf("got %+v, %v", in, err)
	}
}

// TestInherit runs this binary again, as a service with two descriptors.
func TestInherit(t *testing.T) {
	if os.Getenv("NOTIFY_TEST_CHILD") != "" {
		inheritChild()
		return
	}
	a, b, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run=TestInherit`, os.Args[0])
	cmd.Env = append(os.Environ(), "NOTIFY_TEST_CHILD=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=in:out", "NOTIFY_SOCKET=/x", "FDSTORE=3")
	cmd.ExtraFiles = []*os.File{a, b}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "in out 2 /x 3 clean\n") {
		t.Errorf("child: %v: %s", err, out)
	}
}

func inheritChild() {
	in, err := Inherit()
	if err != nil {
		fmt.Println(err)
		return
	}
	state := "clean"
	for _, v := range variables {
		if _, ok := os.LookupEnv(v); ok {
			state = v + " is left"
		}
	}
	for _, f := range in.Files {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			state = "not close-on-exec"
		}
	}
	fmt.Println(in.Files[0].Name(), in.Files[1].Name(), len(in.Files), in.Notify, in.StoreMax, state)
}

// FuzzAssignments: whatever the text, a message has the lines that were meant
// and no others.
func FuzzAssignments(f *testing.F) {
	f.Add("text", "READY=1\nMAINPID=1")
	f.Add("\x00\r\n", "=")
	f.Fuzz(func(t *testing.T, text, value string) {
		msg := strings.Join([]string{string(Status(text)), string(Ready), string(Status(value))}, "\n")
		got := map[string]int{}
		for line := range strings.SplitSeq(msg, "\n") {
			name, _, _ := strings.Cut(line, "=")
			got[name]++
		}
		if want := map[string]int{"STATUS": 2, "READY": 1}; !maps.Equal(got, want) {
			t.Errorf("%q has %v", msg, got)
		}
	})
}

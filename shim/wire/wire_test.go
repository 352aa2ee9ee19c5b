package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMain fails the package if a test leaves a descriptor open.
func TestMain(m *testing.M) {
	before := countFDs()
	code := m.Run()
	for range 100 { // closed by the runtime's poller a little later
		if countFDs() <= before {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "descriptors: %d before the tests, %d after\n", before, countFDs())
	os.Exit(1)
}

func countFDs() int {
	// The first poller descriptors stay; make them before counting.
	r, w, err := os.Pipe()
	if err == nil {
		r.Close()
		w.Close()
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func pair(t testing.TB) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = NewConn(fds[0]); err != nil {
		t.Fatal(err)
	}
	if b, err = NewConn(fds[1]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestMessages(t *testing.T) {
	a, b := pair(t)
	want := []string{"{}", "", strings.Repeat("x", 300_000), "last"}
	go func() {
		for _, m := range want {
			if err := a.Send([]byte(m)); err != nil {
				t.Error(err)
			}
		}
		a.Close()
	}()
	var got []string
	for {
		m, _, err := b.Receive()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(m))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFiles(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := a.Send([]byte("take"), w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	_, files, err := b.Receive()
	if err != nil || len(files) != 1 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	files[0].WriteString("through")
	files[0].Close()
	got, _ := io.ReadAll(r)
	if string(got) != "through" {
		t.Errorf("got %q", got)
	}
}

func TestHalfMessage(t *testing.T) {
	a, b := pair(t)
	r, w, _ := os.Pipe()
	defer r.Close()
	raw, _ := a.f.SyscallConn()
	fd, _ := rawFD(w)
	raw.Write(func(s uintptr) bool {
		unix.Sendmsg(int(s), []byte("half"), unix.UnixRights(fd), nil, 0)
		return true
	})
	w.Close()
	a.Close()
	if _, _, err := b.Receive(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	// The passed descriptor is closed: the pipe has no writer.
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("pipe: got %v, want EOF", err)
	}
}

func TestTooLarge(t *testing.T) {
	a, b := pair(t)
	go func() {
		_ = a.Send(bytes.Repeat([]byte("x"), MaxMessage+100_000)) // is cut off
		a.Close()
	}()
	_, _, err := b.Receive()
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	b.Close()
}

func TestTooManyFiles(t *testing.T) {
	a, b := pair(t)
	raw, _ := a.f.SyscallConn()
	null, _ := os.Open(os.DevNull)
	defer null.Close()
	fd, _ := rawFD(null)
	fds := bytes.Repeat([]byte{0}, maxFiles)
	rights := make([]int, len(fds))
	for i := range rights {
		rights[i] = fd
	}
	for range 3 { // without an end of the message
		raw.Write(func(s uintptr) bool {
			unix.Sendmsg(int(s), []byte("x"), unix.UnixRights(rights...), nil, 0)
			return true
		})
	}
	if _, _, err := b.Receive(); err == nil {
		t.Error("no error")
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("{}\x00abc\x00"), 1)
	f.Add([]byte("\x00\x00\x00"), 2)
	f.Add(bytes.Repeat([]byte("y"), 5000), 4096)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		if chunk < 1 || chunk > 1<<16 {
			chunk = 7
		}
		a, b := pair(t)
		go func() {
			for rest := data; len(rest) > 0; {
				n := min(chunk, len(rest))
				a.f.Write(rest[:n])
				rest = rest[n:]
			}
			a.Close()
		}()
		var got []byte
		for {
			m, _, err := b.Receive()
			if err != nil {
				break
			}
			got = append(append(got, m...), 0)
		}
		// Everything up to the last NUL comes back.
		if want := data[:bytes.LastIndexByte(data, 0)+1]; !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// peer answers each call it gets by fn.
func peer(t *testing.T, fn func(conn *Conn, call Call, files []*os.File)) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	nfd, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := NewConn(nfd)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer conn.Close()
		for {
			msg, files, err := conn.Receive()
			if err != nil {
				return
			}
			var call Call
			if err := json.Unmarshal(msg, &call); err != nil {
				t.Error(err)
				return
			}
			fn(conn, call, files)
			closeAll(files)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c
}

func TestAttach(t *testing.T) {
	r, w, _ := os.Pipe()
	defer r.Close()
	c := peer(t, func(conn *Conn, call Call, files []*os.File) {
		if call.Method != MethodAttach || !call.More || len(files) != 1 {
			t.Errorf("got %+v with %d files", call, len(files))
		}
		files[0].WriteString("out")
		in, inw, _ := os.Pipe()
		conn.Send([]byte(`{"parameters":{"stdin":0,"stdoutOffset":7},"continues":true}`), inw)
		inw.Close()
		go func() {
			defer in.Close()
			b := make([]byte, 3)
			io.ReadFull(in, b)
			if string(b) != "abc" {
				t.Errorf("input: got %q", b)
			}
			conn.Send([]byte(`{"parameters":{"exit":{"code":3,"oomKilled":true}}}`))
			conn.Close()
		}()
	})
	s, err := c.Attach(t.Context(), AttachOptions{Stdin: true, Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if s.StdoutOffset != 7 {
		t.Errorf("offset %d", s.StdoutOffset)
	}
	s.Input.WriteString("abc")
	s.Input.Close()
	exit, err := s.Wait(t.Context())
	three := 3
	if diff := cmp.Diff(Exit{Code: &three, OOMKilled: true}, exit); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if err := s.WaitGone(t.Context()); err != nil {
		t.Errorf("gone: %v", err)
	}
	if out, _ := io.ReadAll(r); string(out) != "out" {
		t.Errorf("output %q", out)
	}
}

func TestErrors(t *testing.T) {
	c := peer(t, func(conn *Conn, call Call, _ []*os.File) {
		switch call.Method {
		case MethodExec:
			conn.Send([]byte(`{"error":"` + ErrorExecFailed + `","parameters":{"message":"no such command","code":127}}`))
		case MethodKill:
			conn.Send([]byte(`{"error":"` + ErrorNotRunning + `"}`))
		case MethodInfo:
			conn.Send([]byte(`not json`))
		default:
			conn.Close()
		}
	})
	_, err := c.Exec(t.Context(), ExecOptions{Process: json.RawMessage(`{}`)})
	var we *Error
	if !errors.As(err, &we) || we.Code != 127 || !errors.Is(err, &Error{Name: ErrorExecFailed}) {
		t.Errorf("exec: got %v", err)
	}
	if err := c.Kill(t.Context(), 9); !errors.Is(err, &Error{Name: ErrorNotRunning}) {
		t.Errorf("kill: got %v", err)
	}
	if _, err := c.Info(t.Context()); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("info: got %v", err)
	}
	if _, err := c.Wait(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("wait: got %v", err)
	}
}

func TestContext(t *testing.T) {
	hold := make(chan struct{})
	c := peer(t, func(conn *Conn, call Call, _ []*os.File) {
		if call.Method == MethodWait {
			<-hold
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(hold)
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

// Every method and error that the code names is in the description.
func TestDescription(t *testing.T) {
	for _, m := range []string{MethodAttach, MethodCloseStdin, MethodExec, MethodInfo, MethodKill, MethodResize, MethodWait, MethodLeaveTerminal} {
		if want := "method " + strings.TrimPrefix(m, Interface+".") + "("; !strings.Contains(Description, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, e := range []string{ErrorNotRunning, ErrorNoTerminal, ErrorNoStdin, ErrorExecFailed, ErrorFailed} {
		if want := "error " + strings.TrimPrefix(e, Interface+".") + " ("; !strings.Contains(Description, want) {
			t.Errorf("no %q", want)
		}
	}
}

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/shim/wire"
)

// attachment is a client that has attached to a fake shim.
type attachment struct {
	t              testing.TB
	conn           *wire.Conn
	args           wire.AttachArgs
	stdout, stderr *os.File
}

// fakeShim listens where the container's shim would and gives every
// connection, one after the other, to the next of serve.
func fakeShim(t *testing.T, h *Host, r *container.Record, serve ...func(*attachment)) {
	t.Helper()
	path := h.Containers.Control(r.ID)
	for _, dir := range []string{filepath.Dir(path), h.Containers.RunDir(r.ID)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Containers.Create(r, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, container.ConfigFile), []byte(`{"process":{"cwd":"/"}}`), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.Containers.WriteStarted(r.ID, &container.Started{Pid: 1, Unit: UnitName(r.Name), Invocation: "now", Control: path}); err != nil {
		t.Fatal(err)
	}
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(l, &unix.SockaddrUnix{Name: path}), unix.Listen(l, 16)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer unix.Close(l)
		for _, f := range serve {
			fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
			if err != nil {
				return // the test is over
			}
			conn, err := wire.NewConn(fd)
			if err != nil {
				t.Error(err)
				return
			}
			a := &attachment{t: t, conn: conn}
			if a.receive() {
				f(a)
			}
			conn.Close()
			a.closeFiles()
		}
	})
	t.Cleanup(func() {
		_ = unix.Shutdown(l, unix.SHUT_RDWR)
		wg.Wait()
	})
}

// receive takes the call to Attach.
func (a *attachment) receive() bool {
	msg, files, err := a.conn.Receive()
	if err != nil {
		return false
	}
	var call wire.Call
	if err := errors.Join(json.Unmarshal(msg, &call), json.Unmarshal(call.Parameters, &a.args)); err != nil {
		a.t.Error(err)
		return false
	}
	if a.args.Stdout != nil {
		a.stdout = files[*a.args.Stdout]
	}
	if a.args.Stderr != nil {
		a.stderr = files[*a.args.Stderr]
	}
	return true
}

func (a *attachment) closeFiles() {
	for _, f := range []*os.File{a.stdout, a.stderr} {
		if f != nil {
			f.Close()
		}
	}
	a.stdout, a.stderr = nil, nil
}

// reply answers the call; one with an exit is the last.
func (a *attachment) reply(v any, last bool) {
	params, err := json.Marshal(v)
	if err != nil {
		a.t.Error(err)
		return
	}
	msg, err := json.Marshal(wire.Reply{Parameters: params, Continues: !last})
	if err != nil {
		a.t.Error(err)
		return
	}
	_ = a.conn.Send(msg) // the client may have left
}

func (a *attachment) exit(code int) {
	a.reply(wire.AttachReply{Exit: &wire.Exit{Code: &code}}, true)
}

// write writes data in pieces.
func (a *attachment) write(f *os.File, data []byte) {
	for len(data) > 0 {
		n := min(len(data), 1+rand.IntN(3000))
		if _, err := f.Write(data[:n]); err != nil {
			return
		}
		data = data[n:]
	}
}

func attachTo(t *testing.T, h *Host, r *container.Record) *Session {
	t.Helper()
	s, err := Attach(t.Context(), h, r.Name, AttachOptions{Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// readAll reads both outputs to their ends.
func readAll(t *testing.T, s *Session) (stdout, stderr []byte) {
	t.Helper()
	var wg sync.WaitGroup
	for dst, src := range map[*[]byte]io.Reader{&stdout: s.Stdout, &stderr: s.Stderr} {
		wg.Go(func() {
			data, err := io.ReadAll(src)
			if err != nil {
				t.Error(err)
			}
			*dst = data
		})
	}
	wg.Wait()
	return stdout, stderr
}

func waitEnd(t *testing.T, s *Session) (*container.Exit, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e, err := s.Wait(ctx)
	if ctx.Err() != nil {
		t.Fatal("the session does not end")
	}
	return e, err
}

func wantCode(t *testing.T, s *Session, want int) {
	t.Helper()
	e, err := waitEnd(t, s)
	if err != nil || e.Code == nil || *e.Code != want {
		t.Errorf("got exit %+v, %v, want code %d", e, err, want)
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	return b
}

// The shim is killed again and again: every byte comes once, in order, from
// where the client came in.
func TestSessionReattaches(t *testing.T) {
	const first, kills = 1000, 8
	h, r := testHost(t), testRecord("web")
	out, errOut := randomBytes(400_000), randomBytes(100_000)
	at := [2]int{first, 7}
	var serve []func(*attachment)
	for i := range kills + 1 {
		serve = append(serve, func(a *attachment) {
			// The dead shim's bytes may not all have been read: only what
			// the client asks for counts.
			for j, off := range []*int64{a.args.StdoutOffset, a.args.StderrOffset} {
				if (off == nil) != (i == 0) {
					t.Errorf("shim %d, stream %d: asked for %v", i, j, off)
				} else if off != nil && int(*off) != at[j] {
					t.Errorf("shim %d, stream %d: asked for byte %d, want %d", i, j, *off, at[j])
				}
			}
			a.reply(wire.AttachReply{StdoutOffset: int64(at[0]), StderrOffset: int64(at[1])}, false)
			to := [2]int{len(out), len(errOut)}
			if i < kills {
				to = [2]int{at[0] + rand.IntN(len(out)-at[0])/2, at[1] + rand.IntN(len(errOut)-at[1])/2}
			}
			var wg sync.WaitGroup
			wg.Go(func() { a.write(a.stdout, out[at[0]:to[0]]) })
			wg.Go(func() { a.write(a.stderr, errOut[at[1]:to[1]]) })
			wg.Wait()
			at = to
			if i == kills {
				a.exit(42)
			} else if i%2 == 0 {
				a.closeFiles() // else the connection goes first
				time.Sleep(time.Millisecond)
			}
		})
	}
	fakeShim(t, h, r, serve...)
	s := attachTo(t, h, r)
	gotOut, gotErr := readAll(t, s)
	if !bytes.Equal(gotOut, out[first:]) {
		t.Errorf("stdout: got %d bytes, want %d, or other ones", len(gotOut), len(out)-first)
	}
	if !bytes.Equal(gotErr, errOut[7:]) {
		t.Errorf("stderr: got %d bytes, want %d, or other ones", len(gotErr), len(errOut)-7)
	}
	wantCode(t, s, 42)
}

// The exit is told before a slow reader has read.
func TestSessionExitBeforeEOF(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	data := randomBytes(10_000) // fits into a pipe
	fakeShim(t, h, r, func(a *attachment) {
		a.reply(wire.AttachReply{}, false)
		a.write(a.stdout, data)
		a.exit(3)
	})
	s := attachTo(t, h, r)
	wantCode(t, s, 3)
	if got, _ := readAll(t, s); !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, want %d", len(got), len(data))
	}
	wantCode(t, s, 3) // as often as it is asked
}

// The container closed its outputs long before it ended.
func TestSessionExitAfterEOF(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	fakeShim(t, h, r, func(a *attachment) {
		a.reply(wire.AttachReply{}, false)
		a.write(a.stdout, []byte("x"))
		a.closeFiles()
		time.Sleep(20 * time.Millisecond)
		a.exit(0)
	})
	s := attachTo(t, h, r)
	if got, _ := readAll(t, s); string(got) != "x" {
		t.Errorf("got %q", got)
	}
	wantCode(t, s, 0)
}

func TestSessionClosed(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	left := make(chan struct{})
	fakeShim(t, h, r, func(a *attachment) {
		a.reply(wire.AttachReply{}, false)
		if _, _, err := a.conn.Receive(); err == nil {
			t.Error("got another call")
		}
		close(left)
	})
	s := attachTo(t, h, r)
	read := make(chan error)
	go func() { _, err := s.Stdout.Read(make([]byte, 1)); read <- err }()
	time.Sleep(5 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for what, ch := range map[string]func(){"the reader": func() {
		if err := <-read; err == nil {
			t.Error("read of a closed session: got no error")
		}
	}, "the connection": func() { <-left }} {
		done := make(chan struct{})
		go func() { defer close(done); ch() }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s does not end", what)
		}
	}
	if e, err := waitEnd(t, s); err == nil {
		t.Errorf("wait after close: got %+v, an exit that nobody saw", e)
	}
}

// With --rm the container is gone when Wait returns.
func TestSessionAutoRemove(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	r.AutoRemove = true
	fakeShim(t, h, r, func(a *attachment) {
		a.reply(wire.AttachReply{}, false)
		a.exit(5)
		time.Sleep(20 * time.Millisecond)
		if err := errors.Join(os.RemoveAll(h.Containers.RunDir(r.ID)), h.Containers.Remove(r)); err != nil {
			t.Error(err)
		}
	})
	s := attachTo(t, h, r)
	wantCode(t, s, 5)
	if _, err := h.Containers.Load(r.ID); !errors.Is(err, container.ErrNotExist) {
		t.Errorf("after the wait: got %v, want ErrNotExist", err)
	}
}

// The run ended while no shim lived: the record says how, or nobody knows.
func TestSessionEndsWithoutShim(t *testing.T) {
	for what, exit := range map[string]*container.Exit{
		"recorded": {Version: 1, Invocation: "now", Code: p(9)},
		"unknown":  nil,
		"code":     {Version: 1, Invocation: "now"}, // ended, nobody knows how
	} {
		t.Run(what, func(t *testing.T) {
			h, r := testHost(t), testRecord("web")
			fakeShim(t, h, r, func(a *attachment) {
				a.reply(wire.AttachReply{}, false)
				a.write(a.stdout, []byte("last words"))
				if exit != nil {
					if err := h.Containers.WriteExit(r.ID, exit); err != nil {
						t.Error(err)
					}
				}
				if err := os.RemoveAll(h.Containers.RunDir(r.ID)); err != nil {
					t.Error(err)
				}
			})
			s := attachTo(t, h, r)
			if got, _ := readAll(t, s); string(got) != "last words" {
				t.Errorf("got %q", got)
			}
			e, err := waitEnd(t, s)
			switch {
			case exit == nil && err == nil:
				t.Errorf("got exit %+v, which nobody saw", e)
			case exit != nil && err != nil:
				t.Error(err)
			case exit != nil && fmt.Sprint(e.Code == nil) != fmt.Sprint(exit.Code == nil):
				t.Errorf("got code %v, want %v", e.Code, exit.Code)
			}
		})
	}
}

func TestAttachNotRunning(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	if err := h.Containers.Create(r, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Attach(t.Context(), h, r.Name, AttachOptions{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
	// A run that ends: nobody may connect any more.
	if err := os.MkdirAll(h.Containers.RunDir(r.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Containers.WriteStarted(r.ID, &container.Started{Control: h.Containers.Control(r.ID)}); err != nil {
		t.Fatal(err)
	}
	l, err := h.Containers.EndRun(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Attach(t.Context(), h, r.Name, AttachOptions{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("while the run ends: got %v, want ErrNotRunning", err)
	}
}

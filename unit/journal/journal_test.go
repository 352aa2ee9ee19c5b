package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// decode is journald's side of the format.
func decode(p []byte) (fields []Field, err error) {
	for len(p) > 0 {
		line, rest, ok := bytes.Cut(p, []byte{'\n'})
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			fields = append(fields, Field{string(name), value})
			p = rest
			continue
		}
		if len(rest) < 8 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.LittleEndian.Uint64(rest)
		rest = rest[8:]
		if n >= uint64(len(rest)) || rest[n] != '\n' {
			return nil, io.ErrUnexpectedEOF
		}
		fields = append(fields, Field{string(line), rest[:n]})
		p = rest[n+1:]
	}
	return fields, nil
}

// A journald is the receiving end.
type journald struct {
	t *testing.T
	c *net.UnixConn
}

func listen(t *testing.T, path string) *journald {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &journald{t, c}
}

func (j *journald) receive() []Field {
	j.t.Helper()
	j.c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf, oob := make([]byte, 1<<20), make([]byte, 128)
	n, oobn, _, _, err := j.c.ReadMsgUnix(buf, oob)
	if err != nil {
		j.t.Fatal(err)
	}
	entry := buf[:n]
	if oobn > 0 {
		entry = j.file(oob[:oobn])
	}
	fields, err := decode(entry)
	if err != nil {
		j.t.Fatalf("decode %.100q: %v", entry, err)
	}
	return fields
}

// file reads an entry that came as a file, which must be sealed.
func (j *journald) file(oob []byte) []byte {
	j.t.Helper()
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		j.t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		j.t.Fatal(fds, err)
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if want := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL; err != nil || seals != want {
		j.t.Errorf("got seals %#x, %v, want %#x", seals, err, want)
	}
	st, err := f.Stat()
	if err != nil {
		j.t.Fatal(err)
	}
	entry := make([]byte, st.Size())
	if _, err := f.ReadAt(entry, 0); err != nil {
		j.t.Fatal(err)
	}
	return entry
}

func dial(t *testing.T, path string) *Conn {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	j := listen(t, path)
	c := dial(t, path)
	for name, want := range map[string][]Field{
		"plain":    {{"MESSAGE", []byte("hello")}, {"PRIORITY", []byte("6")}},
		"lines":    {{"MESSAGE", []byte("a\nb\n")}, {"CONTAINER_NAME", []byte("web")}},
		"binary":   {{"MESSAGE", []byte("\x00\xff=\n")}},
		"empty":    {{"MESSAGE", []byte{}}},
		"repeated": {{"TAG", []byte("a")}, {"TAG", []byte("b")}},
		"long":     {{"MESSAGE", bytes.Repeat([]byte("0123456789\n"), 2<<20)}},
	} {
		if err := c.Send(want...); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := j.receive(); !slices.EqualFunc(got, want, equal) {
			t.Errorf("%s: got %.200v, want %.200v", name, got, want)
		}
	}
	for _, bad := range []string{"", "message", "_PID", "1A", "A=B", "A\nB", strings.Repeat("A", 65)} {
		if err := c.Send(Field{Name: bad}); !errors.Is(err, ErrField) {
			t.Errorf("name %q: got %v, want ErrField", bad, err)
		}
	}
}

func equal(a, b Field) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }

// TestRestart: a journal that comes back gets what is sent from then on.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	c := dial(t, path)
	one := Field{"MESSAGE", []byte("one")}
	if err := c.Send(one); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a journal: got %v, want ENOENT", err)
	}
	for range 3 {
		j := listen(t, path)
		if err := c.Send(one); err != nil {
			t.Fatal(err)
		}
		if got := j.receive(); len(got) != 1 || !equal(got[0], one) {
			t.Errorf("got %v", got)
		}
		j.c.Close()
		os.Remove(path)
	}
	c.Close()
	if err := c.Send(one); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

// TestSystem sends to the real journal and reads it back.
func TestSystem(t *testing.T) {
	if _, err := os.Stat(socketPath); err != nil {
		t.Skip("needs systemd-journald")
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Skip("needs journalctl")
	}
	c := dial(t, "")
	id := strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := c.Send(Field{"MESSAGE", []byte("a\nb")}, Field{"BERTH_TEST", []byte(id)}, Field{"PRIORITY", []byte("5")}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("journalctl", "--sync").CombinedOutput(); err != nil {
		t.Skipf("needs a journal that this user may flush: %s", out)
	}
	out, err := exec.Command("journalctl", "-o", "cat", "BERTH_TEST="+id).CombinedOutput()
	if err != nil || string(out) != "a\nb\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte("plain"), []byte("a\nb"))
	f.Add([]byte{}, []byte("=\x00"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		want := []Field{{"MESSAGE", a}, {"X", b}}
		got, err := decode(Append(Append(nil, "MESSAGE", a), "X", b))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || !bytes.Equal(got[0].Value, a) || !bytes.Equal(got[1].Value, b) || got[0].Name != want[0].Name {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func BenchmarkSend(b *testing.B) {
	c, err := Dial("")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	line := bytes.Repeat([]byte("x"), 100)
	if c.Send(Field{"MESSAGE", line}) != nil {
		b.Skip("needs systemd-journald")
	}
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := c.Send(Field{"MESSAGE", line}, Field{"PRIORITY", []byte("6")}); err != nil {
			b.Fatal(err)
		}
	}
}

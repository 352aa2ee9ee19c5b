package main

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

func testPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestInput(t *testing.T) {
	r, w := testPipe(t)
	in, err := newInput(r)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if _, err := w.WriteString("abc"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	for _, want := range []string{"ab", "c"} {
		if n, err := in.read(buf); string(buf[:n]) != want || err != nil {
			t.Fatalf("got %q, %v, want %q", buf[:n], err, want)
		}
	}
	w.Close()
	if _, err := in.read(buf); err != io.EOF {
		t.Errorf("at the end: got %v, want EOF", err)
	}
}

// A cancelled reader leaves what it has not read to the next one.
func TestInputCancel(t *testing.T) {
	r, w := testPipe(t)
	in, err := newInput(r)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	got := make(chan error)
	go func() {
		_, err := in.read(make([]byte, 1))
		got <- err
	}()
	in.cancel()
	if err := <-got; !errors.Is(err, errCancelled) {
		t.Fatalf("got %v, want errCancelled", err)
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.read(make([]byte, 1)); !errors.Is(err, errCancelled) {
		t.Errorf("after cancel: got %v, want errCancelled", err)
	}
	buf := make([]byte, 1)
	if n, err := r.Read(buf); n != 1 || err != nil {
		t.Errorf("the byte is gone: %v", err)
	}
}

// After its deadline a leftover gives what is in the pipe and does not wait for
// who still holds the other end.
func TestLeftover(t *testing.T) {
	r, w := testPipe(t)
	if _, err := w.WriteString("all of it"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(leftover{r, r})
	if string(got) != "all of it" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPlain(t *testing.T) {
	r, _ := testPipe(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("needs /dev/ptmx")
	}
	defer ptmx.Close()
	for f, want := range map[*os.File]bool{r: true, null: true, dir: false, ptmx: false} {
		if got := plain(f); got != want {
			t.Errorf("%s: got %v, want %v", f.Name(), got, want)
		}
	}
}

func TestCIDFile(t *testing.T) {
	path := t.TempDir() + "/id"
	c, err := newCIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newCIDFile(path); err == nil {
		t.Error("a file that is there was taken")
	}
	boom := errors.New("boom")
	if err := c.close(boom); err != boom {
		t.Errorf("close: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of a container that there is not stayed: %v", err)
	}
	if c, err = newCIDFile(path); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.write("abc"), c.close(nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := readCIDFile(path); got != "abc" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

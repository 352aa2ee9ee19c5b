package shim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berthrun/berth/logs"
)

// A process that is killed again and again while it takes output to the log
// neither loses nor doubles a byte.
func TestKilledWhileLogging(t *testing.T) {
	dir := t.TempDir()
	var want [2]bytes.Buffer
	var pipes [2]*os.File
	written := make(chan struct{}, 2)
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		pipes[i] = r
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		go func() {
			defer func() { w.Close(); written <- struct{}{} }()
			for n := range 4000 {
				line := fmt.Sprintf("%d%s", n, strings.Repeat(" ", rng.IntN(300)))
				if rng.IntN(100) == 0 {
					line += strings.Repeat("x", rng.IntN(50_000))
				}
				if rng.IntN(10) != 0 {
					line += "\n"
				}
				want[i].WriteString(line)
				io.WriteString(w, line)
				if rng.IntN(20) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	kills := 0
	for {
		cmd := exec.Command("/proc/self/exe", dir)
		cmd.Env = append(os.Environ(), "SHIM_TEST=drain")
		cmd.ExtraFiles = pipes[:]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(5+rand.IntN(20))*time.Millisecond, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		if !kill.Stop() && err != nil {
			kills++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	<-written
	<-written
	if kills < 5 {
		t.Errorf("only %d kills: nothing is shown", kills)
	}
	got := map[logs.Stream]string{}
	err := logs.Read(context.Background(), logs.Source{Driver: logs.K8sFile, Path: filepath.Join(dir, "log")},
		logs.Options{Stdout: true, Stderr: true}, func(e logs.Entry) error {
			got[e.Stream] += string(e.Line)
			if !e.Partial {
				got[e.Stream] += "\n"
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []logs.Stream{logs.Stdout, logs.Stderr} {
		if got[id] != want[i].String() {
			t.Errorf("%s: %d bytes written, %d logged, first difference at %d", id, want[i].Len(), len(got[id]), firstDifference(got[id], want[i].String()))
		}
	}
	t.Logf("%d kills, %d bytes", kills, want[0].Len()+want[1].Len())
}

func firstDifference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// newStream is a stream with a running pump that logs nowhere.
func newStream(t *testing.T) (st *stream, w *os.File, ended <-chan error) {
	t.Helper()
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	sink, _ := logs.Open(logs.Config{Driver: logs.None})
	dir := t.TempDir()
	r, err := openRecorder(sink, filepath.Join(dir, "note"))
	if err != nil {
		t.Fatal(err)
	}
	if st, err = openStream(logs.Stdout, p.r, filepath.Join(dir, "stage")); err != nil {
		t.Fatal(err)
	}
	ch := make(chan error, 1)
	go func() { ch <- st.pump(r) }()
	t.Cleanup(func() {
		p.close()
		r.close()
		st.stage.Close()
	})
	return st, p.w, ch
}

func clientPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, sharpen(w)
}

func TestFollowers(t *testing.T) {
	st, w, ended := newStream(t)
	io.WriteString(w, "before")
	for st.taken() < 6 {
		time.Sleep(time.Millisecond)
	}
	early, ew := clientPipe(t)
	zero := int64(0)
	if _, start := st.follow(ew, &zero); start != 0 {
		t.Errorf("start %d, want 0", start)
	}
	late, lw := clientPipe(t)
	if _, start := st.follow(lw, nil); start != 6 {
		t.Errorf("start %d, want 6", start)
	}
	io.WriteString(w, "after")
	w.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		r    *os.File
		want string
	}{"early": {early, "beforeafter"}, "late": {late, "after"}} {
		got, err := io.ReadAll(tt.r)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

// A client that does not read holds the container back; one that leaves lets
// it go on; what everybody has taken is given back.
func TestSlowFollower(t *testing.T) {
	st, w, ended := newStream(t)
	_, cw := clientPipe(t)
	f, _ := st.follow(cw, nil)
	const size = 4 << 20
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.Write(make([]byte, size))
		w.Close()
	}()
	select {
	case <-written:
		t.Fatal("the writer was not held back")
	case <-time.After(100 * time.Millisecond):
	}
	if got := st.taken(); got > window+3*moveMax {
		t.Errorf("%d bytes were taken ahead of the client", got)
	}
	st.unfollow(f)
	<-written
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := st.taken(); got != size {
		t.Errorf("got %d bytes, want %d", got, size)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.size-st.punched > retain+2*moveMax {
		t.Errorf("%d bytes are kept", st.size-st.punched)
	}
}

// A follower may be a file that is opened for appending.
func TestFollowToFile(t *testing.T) {
	st, w, ended := newStream(t)
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fl, _ := st.follow(sharpen(f), nil)
	io.WriteString(w, "text")
	w.Close()
	<-ended
	<-fl.over
	got, _ := os.ReadFile(path)
	if string(got) != "text" {
		t.Errorf("got %q", got)
	}
}

// Somebody outside the container holds the pipe: the deadline ends the pump.
func TestPumpDeadline(t *testing.T) {
	st, w, ended := newStream(t)
	io.WriteString(w, "said")
	for st.taken() < 4 {
		time.Sleep(time.Millisecond)
	}
	st.src.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the pump goes on")
	}
	if n := st.taken(); n != 4 {
		t.Errorf("%d bytes are taken of 4", n)
	}
}

func FuzzNote(f *testing.F) {
	n := note{taken: [2]int64{1, 1 << 40}, stream: logs.Stderr, n: 77, mark: 5, time: time.Unix(9, 8)}
	b := n.encode()
	f.Add(b[:])
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := decodeNote(data)
		if err != nil {
			return
		}
		b := n.encode()
		again, err := decodeNote(b[:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(n, again, cmp.AllowUnexported(note{})); diff != "" {
			t.Error(diff)
		}
	})
}

// Without a log and without a client output goes nowhere, until somebody follows.
func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	st, err := openStream(logs.Stdout, p.r, filepath.Join(dir, "stage"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.src.Close()
	defer st.stage.Close()
	if err := st.discardUnread(); err != nil {
		t.Fatal(err)
	}
	sink, err := logs.Open(logs.Config{Driver: logs.None})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := openRecorder(sink, filepath.Join(dir, "note"))
	if err != nil {
		t.Fatal(err)
	}
	defer rec.close()
	ended := make(chan error)
	go func() { ended <- st.pump(rec) }()
	unheard := bytes.Repeat([]byte("unheard "), 100_000)
	if _, err := p.w.Write(unheard); err != nil {
		t.Fatal(err)
	}
	size := func() int64 { st.mu.Lock(); defer st.mu.Unlock(); return st.size }
	for end := time.Now().Add(5 * time.Second); size() < int64(len(unheard)); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are taken of %d", size(), len(unheard))
		}
	}
	if fi, err := st.stage.Stat(); err != nil || fi.Size() != 0 {
		t.Fatalf("the stage has %d bytes, %v", fi.Size(), err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, start := st.follow(w, nil)
	if start != int64(len(unheard)) {
		t.Errorf("a follower begins at %d, want %d", start, len(unheard))
	}
	if _, err := p.w.WriteString("heard"); err != nil {
		t.Fatal(err)
	}
	p.w.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "heard" {
		t.Errorf("the follower got %q, %v", got, err)
	}
	<-f.over
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if fi, err := st.stage.Stat(); err != nil || fi.Size() != int64(len(unheard)+len("heard")) {
		t.Errorf("the stage says %d bytes, %v", fi.Size(), err)
	}
}

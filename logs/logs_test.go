package logs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var when = time.Date(2026, 1, 2, 3, 4, 5, 67, time.UTC)

func TestAppendLines(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	const head = "2026-01-02T03:04:05.000000067Z stdout "
	for _, tt := range []struct{ name, data, want string }{
		{"nothing", "", ""},
		{"line", "a\n", head + "F a\n"},
		{"empty line", "\n", head + "F \n"},
		{"trailing blanks", "a  \n", head + "F a  \n"},
		{"two", "a\nb\n", head + "F a\n" + head + "F b\n"},
		{"no newline", "a\nb", head + "F a\n" + head + "P b\n"},
		{"longest line", long + "\n", head + "F " + long + "\n"},
		{"longer", long + "y\n", head + "P " + long + "\n" + head + "F y\n"},
		{"NUL", "a\x00b\n", head + "F a\x00b\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := appendLines(nil, Batch{Stream: Stdout, Time: when, Data: []byte(tt.data)})
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		data string
		eof  bool
		want int
	}{
		{"", false, 0},
		{"abc", false, 0},
		{"abc", true, 3},
		{"a\nbc", false, 2},
		{"a\nbc", true, 4},
		{strings.Repeat("x", MaxLine-1), false, 0},
		{strings.Repeat("x", MaxLine), false, MaxLine},
		{"\n" + strings.Repeat("x", 2*MaxLine+1), false, 1 + 2*MaxLine},
	} {
		if got := Cut([]byte(tt.data), tt.eof); got != tt.want {
			t.Errorf("Cut of %d bytes, eof %v: got %d, want %d", len(tt.data), tt.eof, got, tt.want)
		}
	}
}

// readBack returns what the entries of a stream say.
func readBack(t *testing.T, path string, o Options) map[Stream]string {
	t.Helper()
	got := map[Stream]string{}
	err := Read(context.Background(), Source{Driver: K8sFile, Path: path}, o, func(e Entry) error {
		got[e.Stream] += string(e.Line)
		if !e.Partial {
			got[e.Stream] += "\n"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var both = Options{Stdout: true, Stderr: true}

// writeAll logs data as the supervisor does: in batches of at most n bytes.
func writeAll(t *testing.T, s Sink, id Stream, data []byte, n int) {
	t.Helper()
	pos := 0
	for have := min(n, len(data)); ; have = min(have+n, len(data)) {
		eof := have == len(data)
		cut := Cut(data[pos:have], eof)
		for cut > 0 {
			b := Split(data[pos:pos+cut], n)
			if err := s.Write(Batch{Stream: id, Offset: int64(pos), Time: when, Data: data[pos : pos+b]}); err != nil {
				t.Fatal(err)
			}
			pos, cut = pos+b, cut-b
		}
		if eof {
			return
		}
	}
}

func FuzzFileRoundTrip(f *testing.F) {
	f.Add([]byte("a\n\n b \n\x00\xff\nend"), []byte("e\n"), 3)
	f.Add(bytes.Repeat([]byte("x"), 3*MaxLine), []byte("\n\n\n"), 5000)
	f.Add([]byte("2026-01-02T03:04:05Z stdout F fake\n"), []byte{}, 7)
	f.Fuzz(func(t *testing.T, out, errs []byte, n int) {
		if n <= 0 || n > 1<<16 {
			n = 100
		}
		path := filepath.Join(t.TempDir(), "log")
		s, err := Open(Config{Driver: K8sFile, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		writeAll(t, s, Stdout, out, n)
		writeAll(t, s, Stderr, errs, n)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		want := map[Stream]string{}
		if len(out) > 0 {
			want[Stdout] = string(out)
		}
		if len(errs) > 0 {
			want[Stderr] = string(errs)
		}
		if diff := cmp.Diff(want, readBack(t, path, both)); diff != "" {
			t.Error(diff)
		}
	})
}

// A process may be killed when any number of a batch's bytes is written.
func TestFileRedo(t *testing.T) {
	b := Batch{Stream: Stderr, Time: when, Data: []byte("one\ntwo\nthree")}
	whole := appendLines(nil, b)
	before := appendLines(nil, Batch{Stream: Stdout, Time: when, Data: []byte("before\n")})
	for n := range len(whole) + 1 {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, append(append([]byte(nil), before...), whole[:n]...), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Redo(b, int64(len(before))); err != nil {
			t.Fatal(err)
		}
		s.Close()
		got, _ := os.ReadFile(path)
		if diff := cmp.Diff(string(before)+string(whole), string(got)); diff != "" {
			t.Fatalf("after %d bytes: %s", n, diff)
		}
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range 3000 {
		line := strings.Repeat("l", i%500) + "\n"
		id := Stdout
		if i%3 == 0 {
			id = Stderr
		}
		if id == Stdout {
			lines = append(lines, line)
		}
		if err := s.Write(Batch{Stream: id, Time: when, Data: []byte(line)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	for _, n := range []int{0, 1, 2, 17, 500, len(lines), len(lines) + 1} {
		got := readBack(t, path, Options{Stdout: true, Tail: &n})[Stdout]
		want := strings.Join(lines[max(len(lines)-n, 0):], "")
		if got != want {
			t.Errorf("tail of %d lines: got %d bytes, want %d", n, len(got), len(want))
		}
	}
}

func TestSinceUntil(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s, _ := openFile(path)
	for i := range 5 {
		s.Write(Batch{Stream: Stdout, Time: when.Add(time.Duration(i) * time.Second), Data: []byte{byte('0' + i), '\n'}})
	}
	s.Close()
	got := readBack(t, path, Options{Stdout: true, Since: when.Add(time.Second), Until: when.Add(3 * time.Second)})[Stdout]
	if got != "1\n2\n3\n" {
		t.Errorf("got %q", got)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	done := make(chan struct{})
	lines := make(chan string, 100)
	result := make(chan error, 1)
	go func() {
		o := Options{Stdout: true, Follow: true, Done: done}
		result <- Read(context.Background(), Source{Driver: K8sFile, Path: path}, o, func(e Entry) error {
			lines <- string(e.Line)
			return nil
		})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("line %q did not come", want)
		}
	}
	time.Sleep(10 * time.Millisecond) // the file is not there yet
	text := appendLines(nil, Batch{Stream: Stdout, Time: when, Data: []byte("one\ntwo\n")})
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	half := len(text) - 3
	f.Write(text[:half])
	expect("one")
	f.Write(text[half:])
	expect("two")
	f.Write(appendLines(nil, Batch{Stream: Stdout, Time: when, Data: []byte("last\n")}))
	close(done)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	expect("last")
}

func TestFollowEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := Read(ctx, Source{Driver: K8sFile, Path: filepath.Join(t.TempDir(), "log")}, Options{Follow: true, Stdout: true}, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestUnsupported(t *testing.T) {
	var ue *UnsupportedError
	if _, err := Open(Config{Driver: "fluentd"}); !errors.As(err, &ue) {
		t.Errorf("open: got %v", err)
	}
	if err := Read(context.Background(), Source{Driver: None}, both, nil); !errors.As(err, &ue) {
		t.Errorf("read: got %v", err)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.000000067Z stdout F hello  "))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, ok := parseLine(text)
		if ok && !bytes.HasSuffix(text, e.Line) {
			t.Errorf("line %q is not the end of %q", e.Line, text)
		}
	})
}

// export encodes an entry as journalctl does.
func export(fields ...string) []byte {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		name, value := fields[i], fields[i+1]
		if strings.Contains(value, "\x00") {
			b = append(b, name+"\n"...)
			b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
			b = append(b, value+"\n"...)
		} else {
			b = append(b, name+"="+value+"\n"...)
		}
	}
	return append(b, '\n')
}

func TestJournalEntries(t *testing.T) {
	var in []byte
	add := func(line, seq, priority string, more ...string) {
		in = append(in, export(append([]string{
			"__CURSOR", "c" + seq, "__REALTIME_TIMESTAMP", "1000000",
			"MESSAGE", line, "PRIORITY", priority, fieldSeq, seq, fieldEpoch, "run",
		}, more...)...)...)
	}
	add("one", "0", "6")
	add("", "4", "6")
	add("err", "0", "3")
	add("", "4", "6") // again, after a kill
	add("a\x00=b\xff", "5", "6", fieldPartial, "true")
	r := &journalReader{o: both, seen: map[string]int64{}}
	br := bufio.NewReader(bytes.NewReader(in))
	var got []string
	for {
		err := r.next(br, func(e Entry) error {
			got = append(got, e.Stream.String()+":"+string(e.Line)+map[bool]string{true: "…"}[e.Partial])
			return nil
		})
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"stdout:one", "stdout:", "stderr:err", "stdout:a\x00=b\xff…"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzReadExport(f *testing.F) {
	f.Add(export("__CURSOR", "x", "MESSAGE", "a\nb", "PRIORITY", "3"))
	f.Add([]byte("MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(bytes.NewReader(data))
		for range 100 {
			if _, err := readExport(in); err != nil {
				return
			}
		}
	})
}

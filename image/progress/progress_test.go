package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berthrun/berth/image"
	"github.com/opencontainers/go-digest"
)

var (
	layerA = digest.FromString("a")
	layerB = digest.FromString("b")
)

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, Options{})
	r.Event(image.Event{Layer: layerA, State: image.Downloading, Done: 1, Total: 2e6})
	r.Event(image.Event{Layer: layerA, State: image.Retrying, Total: 2e6, Err: errors.New("boom\x1b[2J\n")})
	r.Event(image.Event{Layer: layerB, State: image.Exists, Done: 10, Total: 10})
	r.Event(image.Event{Layer: layerA, State: image.Done, Done: 2e6, Total: 2e6})
	r.Event(image.Event{Layer: layerA, State: image.Done, Done: 2e6, Total: 2e6})
	r.Close()
	want := "layer ca978112ca1b: retrying: boom [2J \n" +
		"layer 3e23e8160039: exists, 10 B\n" +
		"layer ca978112ca1b: done, 2 MB\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestTerminal(t *testing.T) {
	for _, width := range []int{1, 20, 50, 80, 200} {
		var b bytes.Buffer
		now := time.Unix(0, 0)
		r := New(&b, Options{Terminal: true, Width: width, Height: 10})
		r.now = func() time.Time { now = now.Add(interval); return now }
		for i := range int64(20) {
			r.Event(image.Event{Layer: layerA, State: image.Downloading, Done: i, Total: 10})
			r.Event(image.Event{Layer: digest.FromString(string(rune('a' + i))), State: image.Downloading, Done: i, Total: 20})
		}
		r.Close()
		for _, line := range strings.Split(b.String(), "\n") {
			line = line[strings.LastIndex(line, "\x1b[2K")+1:]
			line = strings.TrimPrefix(line, "[2K")
			if len(line) >= max(width, 4) {
				t.Fatalf("width %d: line of %d: %q", width, len(line), line)
			}
		}
		if width == 80 && !strings.Contains(b.String(), "0/20 layers") {
			t.Errorf("no total line in %q", b.String())
		}
		if r.drawn > 9 {
			t.Errorf("%d lines on a screen of 10", r.drawn)
		}
	}
}

// TestThrottle: thousands of events are not thousands of drawings.
func TestThrottle(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, Options{Terminal: true})
	now := time.Unix(0, 0)
	r.now = func() time.Time { now = now.Add(time.Millisecond); return now }
	for i := range int64(1000) {
		r.Event(image.Event{Layer: layerA, State: image.Downloading, Done: i, Total: 1000})
	}
	if n := strings.Count(b.String(), "total"); n < 5 || n > 11 {
		t.Errorf("drawn %d times in a second", n)
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_499: "999 kB", 999_600: "1 MB", 1_234_567: "1.23 MB", 5e12: "5 TB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

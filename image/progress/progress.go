// Package progress shows on a terminal, or in a log, how far a pull or load
// is: a bar for each layer and one for all on a terminal, a line for each
// layer that is finished elsewhere.
//
//	r := progress.New(os.Stderr, progress.Options{Terminal: true, Width: 80, Height: 24})
//	img, err := store.Pull(ctx, name, &image.PullOptions{Progress: r.Event})
//	r.Close()
//
// It draws when events come, at most ten times a second, and has no goroutine.
package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/berthrun/berth/image"
	"github.com/opencontainers/go-digest"
)

// Options say what the output is. Width and Height of zero mean 80 and 24.
type Options struct {
	Terminal      bool
	Width, Height int
}

// A Renderer turns events into text. It is not for concurrent use: the store
// reports one event at a time.
type Renderer struct {
	w     io.Writer
	opts  Options
	now   func() time.Time
	order []digest.Digest
	last  map[digest.Digest]image.Event
	drawn int // lines on the terminal that the next drawing replaces
	at    time.Time
}

const interval = 100 * time.Millisecond

// New makes a renderer that writes to w. Errors of w are ignored: a closed
// terminal must not end a pull.
func New(w io.Writer, opts Options) *Renderer {
	if opts.Width <= 0 {
		opts.Width = 80
	}
	if opts.Height <= 0 {
		opts.Height = 24
	}
	return &Renderer{w: w, opts: opts, now: time.Now, last: make(map[digest.Digest]image.Event)}
}

// Event takes note of e, and shows it when it is time.
func (r *Renderer) Event(e image.Event) {
	old, known := r.last[e.Layer]
	if !known {
		r.order = append(r.order, e.Layer)
	}
	r.last[e.Layer] = e
	if !r.opts.Terminal {
		if !known || old.State != e.State {
			r.line(e)
		}
		return
	}
	if now := r.now(); now.Sub(r.at) >= interval {
		r.at = now
		r.draw()
	}
}

// Close shows the final state.
func (r *Renderer) Close() {
	if r.opts.Terminal && len(r.order) > 0 {
		r.draw()
	}
}

// line is what a log gets.
func (r *Renderer) line(e image.Event) {
	switch e.State {
	case image.Done, image.Exists:
		fmt.Fprintf(r.w, "layer %s: %s, %s\n", short(e.Layer), e.State, Bytes(e.Total))
	case image.Retrying:
		fmt.Fprintf(r.w, "layer %s: retrying: %s\n", short(e.Layer), printable(fmt.Sprint(e.Err)))
	case image.Waiting:
		fmt.Fprintf(r.w, "layer %s: waiting for another pull\n", short(e.Layer))
	}
}

// draw replaces what was drawn before. Where the layers do not fit on the
// screen, those under way are shown.
func (r *Renderer) draw() {
	var b strings.Builder
	if r.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", r.drawn)
	}
	lines := r.lines()
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + l + "\n")
	}
	b.WriteString("\x1b[J")
	r.drawn = len(lines)
	io.WriteString(r.w, b.String()) //nolint:errcheck // see New
}

func (r *Renderer) lines() []string {
	room := max(1, r.opts.Height-2)
	var lines []string
	var done, total int64
	finished := 0
	for _, d := range r.order {
		e := r.last[d]
		done, total = done+min(e.Done, e.Total), total+e.Total
		if e.State == image.Done || e.State == image.Exists {
			finished++
			if len(r.order) > room {
				continue
			}
		}
		if len(lines) < room {
			lines = append(lines, r.bar(short(d), e.Done, e.Total, e.State.String()))
		}
	}
	label := fmt.Sprintf("%d/%d layers", finished, len(r.order))
	return append(lines, r.bar("total", done, total, label))
}

// bar is one line of at most the terminal's width.
func (r *Renderer) bar(name string, done, total int64, note string) string {
	right := fmt.Sprintf(" %9s / %-9s %-14s", Bytes(done), Bytes(total), note)
	left := fmt.Sprintf("%-12s ", name)
	room := r.opts.Width - 1 - len(left) - len(right) - 2
	if room < 5 {
		return cut(left+strings.TrimLeft(right, " "), r.opts.Width-1)
	}
	n := room
	if total > 0 && done < total {
		n = int(float64(room) * float64(max(done, 0)) / float64(total))
	} else if total <= 0 && done <= 0 {
		n = 0
	}
	fill := strings.Repeat("=", n)
	if n < room && n > 0 {
		fill = fill[:n-1] + ">"
	}
	return left + "[" + fill + strings.Repeat(" ", room-n) + "]" + strings.TrimRight(right, " ")
}

func short(d digest.Digest) string {
	_, hex, _ := strings.Cut(string(d), ":")
	return cut(hex, 12)
}

func cut(s string, n int) string { return s[:min(len(s), max(n, 0))] }

// printable keeps a registry from writing to the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// Bytes formats a size with decimal units, as docker and podman do.
func Bytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1000, 0
	for v >= 999.5 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return fmt.Sprintf("%.3g %cB", v, units[i])
}

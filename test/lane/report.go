package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// counts are results of tests; one with subtests counts by those.
type counts struct {
	passed, failed, skipped int
}

func (c *counts) add(d counts) {
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

// event is a line of go tool test2json.
type event struct {
	Action string
	Test   string
	Output string
}

// report counts the results in a stream of events and prints what is worth reading: the output of failed tests, the
// reasons of skipped ones, what a test logs as "count: …", and what is said outside a test, as by a panic. All of it when
// verbose.
func report(w io.Writer, events io.Reader, verbose bool) (counts, error) {
	var c counts
	said := map[string]*strings.Builder{}
	parents := map[string]bool{}
	broken := map[string]bool{} // parents with a failed subtest
	var outside strings.Builder
	dec := json.NewDecoder(events)
	for {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return c, fmt.Errorf("read test results: %w", err)
		}
		switch e.Action {
		case "run":
			said[e.Test] = &strings.Builder{}
			if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
				parents[e.Test[:i]] = true
			}
		case "output":
			if verbose {
				fmt.Fprint(w, e.Output)
			}
			if b := said[e.Test]; b != nil {
				b.WriteString(e.Output)
			} else {
				outside.WriteString(e.Output)
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				if e.Action == "fail" && c.failed == 0 {
					fmt.Fprint(w, outside.String())
				}
				continue
			}
			c.count(e, parents[e.Test], broken)
			text := ""
			if b := said[e.Test]; b != nil {
				text = b.String()
			}
			if e.Action == "skip" {
				fmt.Fprintf(w, "SKIP %s: %s\n", e.Test, reason(text))
			} else if e.Action == "fail" && !verbose {
				fmt.Fprintf(w, "FAIL %s\n%s", e.Test, indent(text))
			}
			for line := range strings.Lines(text) {
				if _, sum, ok := strings.Cut(line, ".go:"); ok && !verbose {
					if _, sum, ok := strings.Cut(sum, ": count: "); ok {
						fmt.Fprint(w, sum)
					}
				}
			}
			delete(said, e.Test)
		}
	}
	// A test binary that dies leaves tests without a result.
	for name, b := range said {
		c.failed++
		fmt.Fprintf(w, "FAIL %s: no result\n%s", name, b)
	}
	return c, nil
}

// count adds one result. A test with subtests counts only when it fails by itself, while they pass.
func (c *counts) count(e event, parent bool, broken map[string]bool) {
	switch {
	case e.Action == "fail":
		if !broken[e.Test] {
			c.failed++
		}
		for name := e.Test; strings.Contains(name, "/"); {
			name = name[:strings.LastIndexByte(name, '/')]
			broken[name] = true
		}
	case parent:
	case e.Action == "pass":
		c.passed++
	case e.Action == "skip":
		c.skipped++
	}
}

// reason is what a skipped test has said: its output without go test's own lines and without the place.
func reason(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if file, rest, ok := strings.Cut(line, ".go:"); ok && !strings.ContainsAny(file, " ") {
			if _, after, ok := strings.Cut(rest, ": "); ok {
				line = after
			}
		}
		words = append(words, line)
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "=== RUN") {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func written(t *testing.T, n int) []string {
	t.Helper()
	var buf bytes.Buffer
	if err := emit(&buf, n); err != nil {
		t.Fatal(err)
	}
	if got := buf.Len(); got != n*lineSize {
		t.Fatalf("%d lines are %d bytes, want %d", n, got, n*lineSize)
	}
	return strings.Split(strings.TrimSuffix(buf.String(), "\n"), "\n")
}

func TestLinesAreNumbered(t *testing.T) {
	lines := written(t, 1001)
	for _, n := range []int{0, 9, 10, 1000} {
		if got, want := lines[n][:9], fmt.Sprintf("%09d", n); got != want {
			t.Errorf("line %d begins with %q, want %q", n, got, want)
		}
	}
}

func TestCompareWantsEveryLineInOrder(t *testing.T) {
	const n = 50
	for name, tc := range map[string]struct {
		change func([]string) []string
		ok     bool
	}{
		"as written": {func(l []string) []string { return l }, true},
		"a line cut in two reads": {func(l []string) []string {
			return append([]string{l[0][:30], l[0][30:]}, l[1:]...)
		}, true},
		"first missing":  {func(l []string) []string { return l[1:] }, false},
		"middle missing": {func(l []string) []string { return append(l[:20:20], l[21:]...) }, false},
		"last missing":   {func(l []string) []string { return l[:n-1] }, false},
		"end cut":        {func(l []string) []string { l[n-1] = l[n-1][:60]; return l }, false},
		"twice":          {func(l []string) []string { return append(l[:10:10], l[9:]...) }, false},
		"swapped":        {func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }, false},
		"one more":       {func(l []string) []string { return append(l, l[n-1]) }, false},
		"nothing":        {func([]string) []string { return nil }, false},
	} {
		for format, f := range map[string]struct {
			content func([]byte) ([]byte, error)
			line    func(string) string
		}{
			"k8s-file": {criContent, func(s string) string { return "2025-01-01T00:00:00.000000000Z stdout F " + s }},
			"json-file": {jsonContent, func(s string) string {
				data, err := json.Marshal(map[string]string{"log": s + "\n", "stream": "stdout"})
				if err != nil {
					t.Fatal(err)
				}
				return string(data)
			}},
			"journal": {journalContent, func(s string) string { return s }},
		} {
			t.Run(name+"/"+format, func(t *testing.T) {
				var log strings.Builder
				for _, l := range tc.change(written(t, n)) {
					log.WriteString(f.line(l) + "\n")
				}
				err := compare(strings.NewReader(log.String()), f.content, n)
				if (err == nil) != tc.ok {
					t.Errorf("compare says %v, want ok %t", err, tc.ok)
				}
			})
		}
	}
}

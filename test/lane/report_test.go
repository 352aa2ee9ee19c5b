package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a test binary prints with -test.v=test2json, whose markers are the byte 0x16.
func events(t *testing.T, text string) *strings.Reader {
	t.Helper()
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(text, "^", "\x16"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReader(string(out))
}

func TestReport(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       counts
		say        []string
		silent     []string
	}{
		{
			name: "one of each",
			text: "^=== RUN   TestA\n    a_test.go:3: fine\n    a_test.go:4: count: 3 of a kind\n^--- PASS: TestA (0.00s)\n" +
				"^=== RUN   TestB\n    b_test.go:7: needs root: are you?\n^--- SKIP: TestB (0.00s)\n" +
				"^=== RUN   TestC\n    c_test.go:9: got 1\n^--- FAIL: TestC (0.01s)\n^FAIL\n",
			want:   counts{passed: 1, failed: 1, skipped: 1},
			say:    []string{"3 of a kind\n", "SKIP TestB: needs root: are you?\n", "FAIL TestC\n", "c_test.go:9: got 1"},
			silent: []string{"fine"},
		},
		{
			name: "subtests count instead of their parent",
			text: "^=== RUN   TestA\n^=== RUN   TestA/x\n^=== RUN   TestA/y\n^--- PASS: TestA/x (0.00s)\n" +
				"^--- FAIL: TestA/y (0.00s)\n^--- FAIL: TestA (0.00s)\n^FAIL\n",
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "a parent that fails by itself counts",
			text: "^=== RUN   TestA\n^=== RUN   TestA/x\n^--- PASS: TestA/x (0.00s)\n^--- FAIL: TestA (0.00s)\n^FAIL\n",
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "death in the middle",
			text: "^=== RUN   TestA\n^--- PASS: TestA (0.00s)\n^=== RUN   TestB\npanic: oh\n",
			want: counts{passed: 1, failed: 1},
			say:  []string{"panic: oh"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			got, err := report(&out, events(t, test.text), false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(counts{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, s := range test.say {
				if !strings.Contains(out.String(), s) {
					t.Errorf("says %q, want %q in it", out.String(), s)
				}
			}
			for _, s := range test.silent {
				if strings.Contains(out.String(), s) {
					t.Errorf("says %q, want no %q in it", out.String(), s)
				}
			}
		})
	}
}

func TestReason(t *testing.T) {
	for text, want := range map[string]string{
		"=== RUN   TestB\n    b_test.go:7: needs root\n--- SKIP: TestB (0.00s)\n": "needs root",
		"    b_test.go:7: two\n        lines: here\n":                             "two lines: here",
		"    no place: but a colon\n":                                             "no place: but a colon",
		"":                                                                        "no reason given",
	} {
		if got := reason(text); got != want {
			t.Errorf("reason(%q) = %q, want %q", text, got, want)
		}
	}
}

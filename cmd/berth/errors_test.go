package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/berthrun/berth/container"
)

func TestReport(t *testing.T) {
	for want, err := range map[string]error{
		"":                     nil,
		"Error: a; b\n":        errors.New("a\nb"),
		"Error: a: x\n":        fmt.Errorf("a: %w", errors.New("x")),
		"Error: a\nError: b\n": apart(errors.Join(errors.New("a"), errors.New("b"))),
		"Error: c\nError: d\n": failures{errors.New("c"), errors.New("d")},
		"Error: e: one, two\n": fmt.Errorf("e: %w, %w", errors.New("one"), errors.New("two")),
		"Error: f: is damaged: berth rm -f takes such a container away\nError: g\n": apart(errors.Join(fmt.Errorf("f: %w", container.ErrDamaged), errors.New("g"))),
	} {
		var b bytes.Buffer
		code := report(&b, err)
		if got := b.String(); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
		if (err == nil) != (code == 0) {
			t.Errorf("%v: exit code %d", err, code)
		}
	}
}

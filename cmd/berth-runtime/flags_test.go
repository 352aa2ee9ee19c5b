package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		b    bool
		s    string
		l    []string
		rest []string
		fail bool
	}{
		{args: []string{"-b", "--str", "x", "id"}, b: true, s: "x", rest: []string{"id"}},
		{args: []string{"--bool=true", "-s=y", "--list", "1", "-list=2", "id", "-b"}, b: true, s: "y", l: []string{"1", "2"}, rest: []string{"id", "-b"}},
		{args: []string{"--bool=false", "--", "-b"}, rest: []string{"-b"}},
		{args: []string{"-"}, rest: []string{"-"}},
		{args: []string{"--str="}, rest: []string{}},
		{args: []string{"--nope"}, fail: true},
		{args: []string{"--str"}, fail: true},
		{args: []string{"--bool=perhaps"}, fail: true},
	} {
		var b bool
		var s string
		var l []string
		f := newFlags()
		f.flag(&b, "bool", "b")
		f.str(&s, "str", "s")
		f.list(&l, "list")
		rest, err := f.parse(c.args)
		if c.fail {
			if err == nil {
				t.Errorf("%q: no error", c.args)
			}
			continue
		}
		if err != nil || b != c.b || s != c.s {
			t.Errorf("%q: got %v %q %v", c.args, b, s, err)
		}
		if d := cmp.Diff(c.l, l); d != "" {
			t.Errorf("%q: %s", c.args, d)
		}
		if d := cmp.Diff(c.rest, rest); d != "" {
			t.Errorf("%q: %s", c.args, d)
		}
	}
}

func TestSignalNumber(t *testing.T) {
	for in, want := range map[string]unix.Signal{
		"9": 9, "KILL": 9, "SIGKILL": 9, "term": 15, "sigusr1": 10, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-1": 63, "WINCH": 28,
		"0": 0, "65": -1, "nope": -1, "RTMIN+99": -1, "": -1, "-1": -1,
	} {
		got, err := signalNumber(in)
		if want < 0 && err == nil || want >= 0 && (got != want || err != nil) {
			t.Errorf("%q: got %d %v, want %d", in, got, err, want)
		}
	}
}

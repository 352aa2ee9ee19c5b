package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func testFlags() []cli.Flag {
	return []cli.Flag{
		strs("env e", "", "KEY"), boolean("interactive i", ""), boolean("tty t", ""), boolean("rm", ""),
		str("memory m", "", "SIZE"), str("hostname h", "", "NAME"), rootfsFlag(),
	}
}

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		args         string
		interspersed bool
		flags, rest  string
		err          string
	}{
		{args: "-it img sh -c x", flags: "--interactive=true --tty=true", rest: "img sh -c x"},
		{args: "-ti -e A=1 --env B=2 img -e C", flags: "--tty=true --interactive=true --env=A=1 --env=B=2", rest: "img -e C"},
		{args: "-eA=1 -m512m img", flags: "--env=A=1 --memory=512m", rest: "img"},
		{args: "-itm 1g img", flags: "--interactive=true --tty=true --memory=1g", rest: "img"},
		{args: "-m=1g img", flags: "--memory=1g", rest: "img"},
		{args: "-e -it -it img", flags: "--env=-it --interactive=true --tty=true", rest: "img"},
		{args: "-e it -it img", flags: "--env=it --interactive=true --tty=true", rest: "img"},
		{args: "--rm=false img", flags: "--rm=false", rest: "img"},
		{args: "--rm=0 img", flags: "--rm=false", rest: "img"},
		{args: "-t=false img", flags: "--tty=false", rest: "img"},
		{args: "-h box img", flags: "--hostname=box", rest: "img"},
		{args: "--rootfs dir sh", flags: "--rootfs=true", rest: "dir sh"},
		{args: "--rootfs=dir sh", flags: "--rootfs=dir", rest: "sh"},
		{args: "-- -it img", rest: "-it img"},
		{args: "img --rm", rest: "img --rm"},
		{args: "img --rm x", interspersed: true, flags: "--rm=true", rest: "img x"},
		{args: "a -m 1 b -- --rm", interspersed: true, flags: "--memory=1", rest: "a b --rm"},
		{args: "- x", rest: "- x"},
		{args: "--memory", err: "--memory needs a SIZE"},
		{args: "-m", err: "-m needs a SIZE"},
		{args: "--memroy 1 img", err: "unknown flag --memroy: did you mean --memory?"},
		{args: "--frobnicate", err: "unknown flag --frobnicate"},
		{args: "-x img", err: "unknown flag -x"},
		{args: "-itx img", err: "unknown flag -x in -itx"},
		{args: "-memory 1 img", flags: "--memory=emory", rest: "1 img"}, // as podman reads it
		{args: "-rm img", err: "unknown flag -r: did you mean --rm?"},
		{args: "--rm=maybe img", err: `--rm "maybe": want true or false`},
		{args: "--e=1 img", err: "unknown flag -e"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			flags, rest, help, err := canonical(testFlags(), strings.Fields(tt.args), tt.interspersed)
			if got := errText(err); got != tt.err {
				t.Fatalf("error: got %q, want %q", got, tt.err)
			}
			if err != nil {
				return
			}
			if help {
				t.Error("help was asked for")
			}
			if diff := cmp.Diff([]string{tt.flags, tt.rest}, []string{strings.Join(flags, " "), strings.Join(rest, " ")}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCanonicalHelp(t *testing.T) {
	for args, want := range map[string]bool{
		"--help": true, "-it --help img": true, "img --help": false, "-h x": false, "-e --help img": false, "-- --help": false,
	} {
		_, _, help, err := canonical(testFlags(), strings.Fields(args), false)
		if help != want || err != nil {
			t.Errorf("%s: help = %v, %v, want %v", args, help, err, want)
		}
	}
}

// Whatever is typed, the canonical form means the same when it is read again.
func FuzzCanonical(f *testing.F) {
	f.Add("-it -eA=1 --memory 1 img sh -c x")
	f.Add("-- -x")
	f.Add("-e= --rm=1 --rootfs=x -")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		for _, interspersed := range []bool{false, true} {
			flags, rest, help, err := canonical(testFlags(), args, interspersed)
			if help || err != nil {
				continue
			}
			again, rest2, _, err := canonical(testFlags(), append(append(flags, "--"), rest...), interspersed)
			if err != nil {
				t.Fatalf("%q became %q: %v", args, flags, err)
			}
			if diff := cmp.Diff([][]string{flags, rest}, [][]string{again, rest2}); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestNearest(t *testing.T) {
	verbs := []string{"run", "rm", "rmi", "restart", "rename", "ps", "images", "inspect", "start", "stop"}
	for word, want := range map[string]string{
		"rum": "run", "nur": "run", "image": "images", "statr": "start", "strat": "start", "inspekt": "inspect", "xyzzy": "", "p": "ps",
	} {
		if got := nearest(word, verbs); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abcd", "badc", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// secret lies beside the layers: nothing in them may lead to it.
const secret = "the host's own"

// layers makes layers, topmost first. An entry is a path and what is there:
//
//	"text"       a regular file
//	"-> target"  a symbolic link; $OUT in it is a directory of the host
//	"dir", "opaque", "fifo", "whiteout"
func layers(t testing.TB, list ...map[string]string) Tree {
	t.Helper()
	base := t.TempDir()
	out := filepath.Join(base, "out")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(out, 0o755))
	must(os.WriteFile(filepath.Join(out, "passwd"), []byte(secret), 0o644))
	must(os.Mkdir(filepath.Join(out, "etc"), 0o755))
	must(os.WriteFile(filepath.Join(out, "etc", "passwd"), []byte(secret), 0o644))
	var tree Tree
	for i, entries := range list {
		dir := filepath.Join(base, "layer"+string(rune('0'+i)))
		must(os.Mkdir(dir, 0o755))
		tree = append(tree, dir)
		paths := make([]string, 0, len(entries))
		for p := range entries {
			paths = append(paths, p)
		}
		slices.Sort(paths)
		for _, p := range paths {
			what, path := entries[p], filepath.Join(dir, p)
			must(os.MkdirAll(filepath.Dir(path), 0o755))
			target, link := strings.CutPrefix(what, "-> ")
			switch {
			case link:
				must(os.Symlink(strings.ReplaceAll(target, "$OUT", out), path))
			case what == "dir":
				must(os.MkdirAll(path, 0o755))
			case what == "opaque":
				must(os.MkdirAll(path, 0o755))
				if unix.Setxattr(path, "user.overlay.opaque", []byte("y"), 0) != nil &&
					unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0) != nil {
					t.Skip("needs extended attributes below " + base)
				}
			case what == "fifo":
				must(syscall.Mkfifo(path, 0o644))
			case what == "whiteout":
				// Anybody may make one since Linux 5.8.
				if err := syscall.Mknod(path, syscall.S_IFCHR, 0); err != nil {
					t.Skipf("needs to make a whiteout: %v", err)
				}
			default:
				must(os.WriteFile(path, []byte(what), 0o644))
			}
		}
	}
	return tree
}

type m = map[string]string

func TestTree(t *testing.T) {
	top := m{"etc/passwd": "top"}
	low := m{"etc/passwd": "low", "etc/group": "group"}
	deep := strings.Repeat("a/", 60)
	for _, tt := range []struct {
		name   string
		layers []map[string]string
		want   string // "": fs.ErrNotExist
	}{
		{"one layer", []map[string]string{low}, "low"},
		{"topmost wins", []map[string]string{top, low}, "top"},
		{"order", []map[string]string{low, top}, "low"},
		{"from below", []map[string]string{{"etc/other": "x"}, {}, low}, "low"},
		{"nowhere", []map[string]string{{"etc/other": "x"}, {}}, ""},
		{"empty file", []map[string]string{{"etc/passwd": " "}, low}, " "},

		{"whiteout", []map[string]string{{"etc/passwd": "whiteout"}, low}, ""},
		{"whiteout of the directory", []map[string]string{{"etc": "whiteout"}, low}, ""},
		{"made again above a whiteout", []map[string]string{top, {"etc": "whiteout"}, low}, "top"},
		{"whiteout and made again, without it", []map[string]string{{"etc": "dir"}, {"etc": "whiteout"}, low}, ""},
		{"opaque", []map[string]string{{"etc": "opaque"}, low}, ""},
		{"opaque with the file", []map[string]string{{"etc": "opaque", "etc/passwd": "new"}, low}, "new"},
		{"opaque further up", []map[string]string{{"etc/x": "x"}, {"etc": "opaque"}, low}, ""},
		{"file in place of the directory", []map[string]string{{"etc": "x"}, low}, ""},
		{"file below a directory", []map[string]string{{"etc": "dir"}, {"etc": "x"}, low}, ""},

		{"link", []map[string]string{{"etc/passwd": "-> shadow", "etc/shadow": "s"}}, "s"},
		{"absolute link", []map[string]string{{"etc/passwd": "-> /usr/passwd", "usr/passwd": "s"}}, "s"},
		{"link into the layer below", []map[string]string{{"etc/passwd": "-> /usr/passwd"}, {"usr/passwd": "s"}}, "s"},
		{"link of a directory", []map[string]string{{"etc": "-> usr/etc"}, {"usr/etc/passwd": "s"}}, "s"},
		{"link over a directory", []map[string]string{{"etc": "-> usr/etc", "usr/etc/passwd": "s"}, low}, "s"},
		{"link of a directory, nothing behind it", []map[string]string{{"etc": "-> gone"}, low}, ""},
		{"dots stop at the root", []map[string]string{{"etc/passwd": "-> ../../../../p", "p": "s"}}, "s"},
		{"dots after a link", []map[string]string{{"etc/passwd": "-> /l/../p", "l": "-> /a/b", "a/b": "dir", "a/p": "right", "p": "wrong"}}, "right"},
		{"slashes and dots", []map[string]string{{"etc/passwd": "-> .//./../etc//p", "etc/p": "s"}}, "s"},
		{"deep", []map[string]string{{"etc/passwd": "-> /" + deep + "p", deep + "p": "s"}}, "s"},

		{"host by an absolute link", []map[string]string{{"etc/passwd": "-> $OUT/passwd"}}, ""},
		{"host by dots", []map[string]string{{"etc/passwd": "-> ../../out/passwd"}}, ""},
		{"host by the directory", []map[string]string{{"etc": "-> $OUT"}}, ""},
		{"host by the directory's dots", []map[string]string{{"etc": "-> ../out"}}, ""},
		{"host by a directory that a layer above made one again", []map[string]string{{"etc": "dir"}, {"etc": "-> $OUT"}}, ""},
		{"host by a link under a directory, deeper", []map[string]string{{"usr/etc": "dir", "etc": "-> /usr/etc"}, {"usr": "-> $OUT"}}, ""},
		{"host by proc", []map[string]string{{"etc/passwd": "-> /proc/self/root/etc/passwd"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := layers(t, tt.layers...).ReadFile("/etc/passwd")
			if tt.want == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("got %q, %v, want fs.ErrNotExist", data, err)
				}
				return
			}
			if err != nil || string(data) != tt.want {
				t.Errorf("got %q, %v, want %q", data, err, tt.want)
			}
		})
	}
}

// What is no regular file is an error, at once.
func TestTreeHostile(t *testing.T) {
	for name, layer := range map[string]map[string]string{
		"loop":          {"etc/passwd": "-> passwd"},
		"loop of two":   {"etc/passwd": "-> a", "etc/a": "-> passwd"},
		"growing loop":  {"etc/passwd": "-> passwd/x/y/z"},
		"directory":     {"etc/passwd": "dir"},
		"root":          {"etc/passwd": "-> /"},
		"fifo":          {"etc/passwd": "fifo"},
		"link to fifo":  {"etc/passwd": "-> f", "etc/f": "fifo"},
		"loop in etc":   {"etc": "-> etc"},
		"long loop":     {"etc": "-> a", "a": "-> b", "b": "-> ../../etc"},
		"huge and long": {"etc/passwd": "-> " + strings.Repeat("../", 1300) + "etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := layers(t, layer)
			done := make(chan error, 1)
			go func() { _, err := tree.ReadFile("/etc/passwd"); done <- err }()
			select {
			case err := <-done:
				if err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("got %v, want an error that says what is wrong", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("does not end")
			}
		})
	}
	tree := layers(t, m{"etc/other": "x"})
	if err := os.Truncate(filepath.Join(tree[0], "etc", "other"), maxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile("/etc/other"); err == nil {
		t.Error("a huge file: got no error")
	}
}

// A running container exchanges a directory and a link while berth looks.
func TestTreeExchange(t *testing.T) {
	tree := layers(t, m{"etc/passwd": "inside", "evil": "-> $OUT/etc"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(tree[0], "etc"), unix.AT_FDCWD, filepath.Join(tree[0], "evil"), unix.RENAME_EXCHANGE)
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	read, missed := 0, 0
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		data, err := tree.ReadFile("/etc/passwd")
		switch {
		case err != nil:
			missed++
		case string(data) == "inside":
			read++
		default:
			t.Fatalf("read %q", data)
		}
	}
	if read == 0 || missed == 0 {
		t.Logf("read %d times, missed %d times", read, missed)
	}
}

// Whatever a link says, what is read is a file of the layers.
func FuzzTree(f *testing.F) {
	for _, s := range []string{"x", "../../out/passwd", "/out/passwd", "/proc/self/root/etc/passwd", "/l/..", "./", "//", "passwd", "/etc/group"} {
		f.Add(s, s, "/etc/passwd")
	}
	f.Fuzz(func(t *testing.T, one, two, name string) {
		tree := layers(t, m{"etc/group": "inside", "d/x": "inside"}, m{"d": "dir", "passwd": "inside", "e/x": "inside"})
		for i, target := range []string{one, two} {
			if target == "" || strings.ContainsRune(target, 0) {
				continue
			}
			for _, p := range []string{"etc/passwd", "d/y", "e"} {
				if i == 0 || p != "e" {
					_ = os.Symlink(target, filepath.Join(tree[i], p))
				}
			}
		}
		for _, name := range []string{name, "/etc/passwd", "/d/y/passwd", "e/passwd"} {
			data, err := tree.ReadFile(name)
			if err == nil && string(data) != "inside" {
				t.Errorf("%q leads out: %q", name, data)
			}
		}
	})
}

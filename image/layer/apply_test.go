package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// entry is a tar header with content; Uid and Gid are ours.
func entry(typ byte, name string, mod ...func(*tar.Header)) *tar.Header {
	h := &tar.Header{Typeflag: typ, Name: name, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid(), ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX}
	if typ == tar.TypeDir {
		h.Mode = 0o755
	}
	for _, m := range mod {
		m(h)
	}
	return h
}

func dir(name string) *tar.Header  { return entry(tar.TypeDir, name) }
func file(name string) *tar.Header { return entry(tar.TypeReg, name) }
func symlink(name, target string) *tar.Header {
	return entry(tar.TypeSymlink, name, func(h *tar.Header) { h.Linkname = target })
}
func hardlink(name, target string) *tar.Header {
	return entry(tar.TypeLink, name, func(h *tar.Header) { h.Linkname = target })
}

func xattr(h *tar.Header, name, value string) *tar.Header {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[xattrPrefix+name] = value
	return h
}

// pack writes a tar; every regular file contains its own name.
func pack(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(tw, h.Name)
		}
	}
	tw.Close()
	return b.Bytes()
}

func testOptions() *Options { return &Options{Rootless: os.Geteuid() != 0} }

// apply unpacks into root/layer; root also holds a file "outside" that no
// layer may touch.
func apply(t testing.TB, data []byte) (root string, res *Result, err error) {
	t.Helper()
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "outside"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(base, "layer")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err = Apply(context.Background(), f, bytes.NewReader(data), testOptions())
	checkOutside(t, base)
	return root, res, err
}

func checkOutside(t testing.TB, base string) {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Fatalf("something was made outside the layer: %v", entries)
	}
	if data, err := os.ReadFile(filepath.Join(base, "outside")); err != nil || string(data) != "untouched" {
		t.Fatalf("file outside the layer: %q, %v", data, err)
	}
	if fi, err := os.Lstat(filepath.Join(base, "outside")); err != nil || fi.Mode() != 0o600 {
		t.Fatalf("file outside the layer: %v, %v", fi, err)
	}
}

// tree lists what is in a directory: "d a", "f a/b=content", "l x->y",
// "w gone", "p fifo", "o dir" for an opaque one.
func tree(t testing.TB, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		switch {
		case d.IsDir():
			kind := "d "
			if b := make([]byte, 1); true {
				if n, _ := unix.Getxattr(p, testOpaque(), b); n == 1 && b[0] == 'y' {
					kind = "o "
				}
			}
			if name != "." || kind == "o " {
				out = append(out, kind+name)
			}
		case isWhiteout(&st):
			out = append(out, "w "+name)
		case d.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(p)
			out = append(out, "l "+name+"->"+target)
		case d.Type() == fs.ModeNamedPipe:
			out = append(out, "p "+name)
		case d.Type().IsRegular():
			data, _ := os.ReadFile(p)
			out = append(out, "f "+name+"="+string(data))
		default:
			out = append(out, fmt.Sprintf("? %s %v", name, d.Type()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func testOpaque() string {
	if os.Geteuid() != 0 {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

// TestApply: well-meant layers, and the odd ones that tools do produce.
func TestApply(t *testing.T) {
	long := strings.Repeat("long/", 60) + "name"
	tests := []struct {
		name     string
		entries  []*tar.Header
		want     []string
		implicit []string
	}{
		{"plain", []*tar.Header{dir("a/"), file("a/b"), symlink("a/c", "/etc/x")}, []string{"d a", "f a/b=a/b", "l a/c->/etc/x"}, nil},
		{"dot slash", []*tar.Header{dir("./"), dir("./a"), file("./a/b")}, []string{"d a", "f a/b=./a/b"}, nil},
		{"absolute is relative", []*tar.Header{dir("/a"), file("/a/b")}, []string{"d a", "f a/b=/a/b"}, nil},
		{"dotdot inside", []*tar.Header{dir("a"), file("a/../b")}, []string{"d a", "f b=a/../b"}, nil},
		{"fifo", []*tar.Header{entry(tar.TypeFifo, "p")}, []string{"p p"}, nil},
		{"hard link", []*tar.Header{file("a"), hardlink("b", "a")}, []string{"f a=a", "f b=a"}, nil},
		{"hard link, absolute", []*tar.Header{file("a"), hardlink("b", "/a")}, []string{"f a=a", "f b=a"}, nil},
		{"hard link to a symlink", []*tar.Header{symlink("s", "../../outside"), hardlink("b", "s")}, []string{"l b->../../outside", "l s->../../outside"}, nil},
		{"hard link to itself", []*tar.Header{file("a"), hardlink("a", "./a")}, []string{"f a=a"}, nil},
		{"two links then again", []*tar.Header{file("a"), hardlink("b", "a"), hardlink("a", "b")}, []string{"f a=a", "f b=a"}, nil},
		{"whiteout", []*tar.Header{dir("d"), file("d/.wh.x")}, []string{"d d", "w d/x"}, nil},
		{"whiteout before its dir", []*tar.Header{file(".wh.d"), dir("d"), file("d/x")}, []string{"o d", "f d/x=d/x"}, nil},
		{"whiteout after its dir", []*tar.Header{dir("d"), file("d/x"), file(".wh.d")}, []string{"o d", "f d/x=d/x"}, nil},
		{"whiteout before its file", []*tar.Header{file(".wh.f"), file("f")}, []string{"f f=f"}, nil},
		{"whiteout after its file", []*tar.Header{file("f"), file(".wh.f")}, []string{"f f=f"}, nil},
		{"whiteout twice", []*tar.Header{file(".wh.f"), file(".wh.f")}, []string{"w f"}, nil},
		{"opaque", []*tar.Header{dir("d"), file("d/.wh..wh..opq"), file("d/x")}, []string{"o d", "f d/x=d/x"}, nil},
		{"opaque last", []*tar.Header{dir("d"), file("d/x"), file("d/.wh..wh..opq")}, []string{"o d", "f d/x=d/x"}, nil},
		{"opaque root", []*tar.Header{file(".wh..wh..opq"), file("x")}, []string{"o .", "f x=x"}, nil},
		{"aufs leftovers", []*tar.Header{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"), file("a")}, []string{"f a=a"}, nil},
		{"file over dir", []*tar.Header{dir("a"), file("a/b"), file("a")}, []string{"f a=a"}, nil},
		{"dir over file", []*tar.Header{file("a"), dir("a"), file("a/b")}, []string{"d a", "f a/b=a/b"}, nil},
		{"dir twice keeps content", []*tar.Header{dir("a"), file("a/b"), dir("a")}, []string{"d a", "f a/b=a/b"}, nil},
		{"file twice", []*tar.Header{file("a"), symlink("a", "x"), file("a")}, []string{"f a=a"}, nil},
		{"symlinked parent inside", []*tar.Header{dir("usr"), dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/x")}, []string{"l lib->usr/lib", "d usr", "d usr/lib", "f usr/lib/x=lib/x"}, nil},
		{"symlinked parent, absolute", []*tar.Header{dir("usr"), symlink("lib", "/usr"), file("lib/x")}, []string{"l lib->/usr", "d usr", "f usr/x=lib/x"}, nil},
		{"implicit", []*tar.Header{file("a/b/c")}, []string{"d a", "d a/b", "f a/b/c=a/b/c"}, []string{"a", "a/b"}},
		{"implicit, then explicit", []*tar.Header{file("a/b/c"), dir("a")}, []string{"d a", "d a/b", "f a/b/c=a/b/c"}, []string{"a/b"}},
		{"implicit in a whiteout", []*tar.Header{file(".wh.a"), file("a/b")}, []string{"o a", "f a/b=a/b"}, []string{"a"}},
		{"long", []*tar.Header{file(long)}, nil, nil},
		{"parent comes after its dir cache is stale", []*tar.Header{dir("a"), dir("a/s"), file("a/s/1"), symlink("a/s", "../b"), dir("b"), file("a/s/2")},
			[]string{"d a", "l a/s->../b", "d b", "f b/2=a/s/2"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, res, err := apply(t, pack(t, tt.entries...))
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != nil {
				if d := cmp.Diff(tt.want, tree(t, root)); d != "" {
					t.Errorf("tree (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tt.implicit, res.Implicit); d != "" {
					t.Errorf("implicit (-want +got):\n%s", d)
				}
			}
			if len(res.Links) > 0 {
				t.Errorf("foreign links %v", res.Links)
			}
		})
	}
}

// TestHostile: nothing may be made or changed outside the layer, whatever the
// archive says (apply checks that), and what cannot be meant well is refused.
func TestHostile(t *testing.T) {
	big := func(h *tar.Header) { h.Size = 1 << 60 }
	tests := []struct {
		name    string
		entries []*tar.Header
		refused bool
		want    []string
	}{
		{"dotdot", []*tar.Header{file("../outside")}, true, nil},
		{"dotdot deep", []*tar.Header{file("a/../../outside")}, true, nil},
		{"dotdot absolute", []*tar.Header{file("/../outside")}, true, nil},
		{"dotdot dir", []*tar.Header{dir("../x")}, true, nil},
		{"dotdot whiteout", []*tar.Header{file("../.wh.outside")}, true, nil},
		{"whiteout of dotdot", []*tar.Header{dir("a"), file("a/.wh...")}, true, nil},
		{"whiteout of dot", []*tar.Header{dir("a"), file("a/.wh..")}, true, nil},
		{"whiteout of nothing", []*tar.Header{file(".wh.")}, true, nil},
		{"root as a file", []*tar.Header{file(".")}, true, nil},
		{"root as a symlink", []*tar.Header{symlink("./", "..")}, true, nil},
		{"symlink out", []*tar.Header{symlink("s", ".."), file("s/outside")}, false, []string{"f outside=s/outside", "l s->.."}},
		{"symlink out, absolute", []*tar.Header{symlink("s", "/"), file("s/outside")}, false, []string{"f outside=s/outside", "l s->/"}},
		{"symlink to the file out", []*tar.Header{symlink("s", "../outside"), file("s")}, false, []string{"f s=s"}},
		{"symlink replaced, then dir", []*tar.Header{symlink("s", ".."), dir("s"), file("s/outside")}, false, []string{"d s", "f s/outside=s/outside"}},
		{"dir replaced by a symlink", []*tar.Header{dir("d"), file("d/a"), symlink("d", "../.."), file("d/outside")}, false, []string{"l d->../..", "f outside=d/outside"}},
		{"symlink chain", []*tar.Header{dir("a"), symlink("a/b", ".."), symlink("c", "a/b/.."), file("c/outside")}, false, []string{"d a", "l a/b->..", "l c->a/b/..", "f outside=c/outside"}},
		{"dangling symlink parent", []*tar.Header{symlink("s", "../nowhere"), file("s/x")}, true, nil},
		{"symlink loop parent", []*tar.Header{symlink("s", "s"), file("s/x")}, true, nil},
		{"chmod through a symlink", []*tar.Header{symlink("s", "../outside"), entry(tar.TypeSymlink, "s", func(h *tar.Header) { h.Linkname = "../outside"; h.Mode = 0o4777 })}, false, []string{"l s->../outside"}},
		{"dir over a symlink out", []*tar.Header{symlink("s", ".."), entry(tar.TypeDir, "s/", func(h *tar.Header) { h.Mode = 0o777 })}, false, []string{"d s"}},
		{"hard link out", []*tar.Header{hardlink("h", "../outside")}, true, nil},
		{"hard link through a symlink out", []*tar.Header{symlink("s", ".."), hardlink("h", "s/outside")}, false, []string{"l s->.."}},
		{"hard link to a dir", []*tar.Header{dir("d"), hardlink("h", "d")}, true, nil},
		{"hard link to the root", []*tar.Header{hardlink("h", "/")}, true, nil},
		{"hard link to a whiteout", []*tar.Header{file(".wh.w"), hardlink("h", "w")}, true, nil},
		{"hard link to a whiteout name", []*tar.Header{hardlink("h", ".wh.w")}, true, nil},
		{"whiteout through a symlink out", []*tar.Header{symlink("s", ".."), file("s/.wh.outside")}, false, []string{"w outside", "l s->.."}},
		{"opaque through a symlink out", []*tar.Header{symlink("s", ".."), file("s/.wh..wh..opq")}, false, []string{"o .", "l s->.."}},
		{"fifo as a parent", []*tar.Header{entry(tar.TypeFifo, "p"), file("p/x")}, false, []string{"d p", "f p/x=p/x"}},
		{"unknown type", []*tar.Header{entry('Z', "z")}, true, nil},
		{"too deep a name", []*tar.Header{file(strings.Repeat("d/", 3000) + "x")}, true, nil},
		{"a huge size", []*tar.Header{entry(tar.TypeSymlink, "ok", func(h *tar.Header) { h.Linkname = "x" }), entry(tar.TypeReg, "big", big)}, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var data []byte
			if tt.name == "a huge size" {
				var b bytes.Buffer
				tar.NewWriter(&b).WriteHeader(tt.entries[1])
				data = b.Bytes()
			} else {
				data = pack(t, tt.entries...)
			}
			root, _, err := apply(t, data)
			if tt.refused != (err != nil) {
				t.Fatalf("error %v, refused should be %v; tree %q", err, tt.refused, tree(t, root))
			}
			if tt.want != nil {
				if d := cmp.Diff(tt.want, tree(t, root)); d != "" {
					t.Errorf("tree (-want +got):\n%s", d)
				}
			}
		})
	}
}

// TestOverlayXattrs: an image must not be able to speak overlayfs.
func TestOverlayXattrs(t *testing.T) {
	d := xattr(xattr(xattr(dir("d"), "trusted.overlay.redirect", "/etc"), "user.overlay.opaque", "y"), "user.kept", "v")
	f := xattr(xattr(file("f"), "trusted.overlay.metacopy", ""), "user.kept", "v")
	root, _, err := apply(t, pack(t, d, f, xattr(symlink("s", "x"), "user.never", "v")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "f"} {
		b := make([]byte, 4096)
		n, err := unix.Listxattr(filepath.Join(root, name), b)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b[:n]); strings.Contains(got, "overlay") || !strings.Contains(got, "user.kept") {
			t.Errorf("%s has attributes %q", name, got)
		}
	}
}

// TestAttributes: modes, owners, times, capabilities, devices; those of a
// directory survive what is put into it.
func TestAttributes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices and capabilities")
	}
	const capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	own := func(h *tar.Header) { h.Uid, h.Gid, h.Mode = 1000, 1001, 0o6755 }
	root, _, err := apply(t, pack(t,
		entry(tar.TypeDir, "./", func(h *tar.Header) { h.Mode = 0o711 }),
		entry(tar.TypeDir, "d", func(h *tar.Header) { own(h); h.Mode = 0o1555 }),
		entry(tar.TypeReg, "d/suid", own),
		xattr(entry(tar.TypeReg, "ping", own), "security.capability", capability),
		entry(tar.TypeSymlink, "s", func(h *tar.Header) { own(h); h.Linkname = "ping" }),
		entry(tar.TypeChar, "null", func(h *tar.Header) { h.Devmajor, h.Devminor, h.Mode = 1, 3, 0o666 }),
		entry(tar.TypeBlock, "loop", func(h *tar.Header) { h.Devmajor, h.Devminor = 7, 300 }),
	))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		".":      "40711 0:0 0 1000000000",
		"d":      "41555 1000:1001 0 1000000000",
		"d/suid": "106755 1000:1001 0 1000000000",
		"ping":   "106755 1000:1001 0 1000000000",
		"s":      "120777 1000:1001 0 1000000000",
		"null":   fmt.Sprintf("20666 0:0 %d 1000000000", unix.Mkdev(1, 3)),
		"loop":   fmt.Sprintf("60644 0:0 %d 1000000000", unix.Mkdev(7, 300)),
	}
	got := make(map[string]string)
	for name := range want {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
			t.Fatal(err)
		}
		got[name] = fmt.Sprintf("%o %d:%d %d %d", st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	b := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(root, "ping"), "security.capability", b); err != nil || string(b[:n]) != capability {
		t.Errorf("capability %q, %v", b[:n], err)
	}
}

func TestBounds(t *testing.T) {
	run := func(data []byte, o Options) error {
		f, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o.Rootless = os.Geteuid() != 0
		_, err = Apply(context.Background(), f, bytes.NewReader(data), &o)
		return err
	}
	data := pack(t, file("aaaa"), file("bbbb"))
	if err := run(data, Options{MaxSize: 8, MaxEntries: 2}); err != nil {
		t.Errorf("within bounds: %v", err)
	}
	if err := run(data, Options{MaxSize: 7}); !errors.Is(err, ErrTooBig) {
		t.Errorf("size: %v", err)
	}
	if err := run(data, Options{MaxEntries: 1}); !errors.Is(err, ErrTooBig) {
		t.Errorf("entries: %v", err)
	}
	for _, cut := range []int{1, 511, 514, 1025, 1535, 1539} { // within headers and contents
		if run(data[:cut], Options{}) == nil {
			t.Errorf("cut at %d: no error", cut)
		}
	}
}

// TestSparse: holes stay holes, and GNU's formats are understood.
func TestSparse(t *testing.T) {
	var b bytes.Buffer
	// GNU sparse 1.0 in a PAX archive: the map comes first in the content.
	body := append(append([]byte("1\n1048576\n4\n"), make([]byte, 500)...), "tail"...)
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Typeflag: 'x', Name: "PaxHeaders/s", Format: tar.FormatPAX}); err == nil {
		t.Skip("archive/tar writes raw PAX headers now: use them")
	}
	b.Reset()
	rec := ""
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=s", "GNU.sparse.realsize=1048580"} {
		n := len(kv) + 3
		if len(fmt.Sprint(n))+1+len(kv)+1 != n {
			n = len(fmt.Sprint(n)) + 1 + len(kv) + 1
		}
		rec += fmt.Sprintf("%d %s\n", n, kv)
	}
	rawHeader(&b, "PaxHeaders/s", 'x', int64(len(rec)))
	pad(&b, []byte(rec))
	rawHeader(&b, "GNUSparseFile.0/s", '0', int64(len(body)))
	pad(&b, body)
	b.Write(make([]byte, 1024))
	root, res, err := apply(t, b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "s"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 1048580 || st.Blocks*512 > 64<<10 || res.Size != st.Size {
		t.Errorf("size %d in %d blocks, counted %d", st.Size, st.Blocks, res.Size)
	}
	data, _ := os.ReadFile(filepath.Join(root, "s"))
	if !strings.HasSuffix(string(data), "\x00tail") {
		t.Errorf("ends in %q", data[len(data)-5:])
	}
}

func rawHeader(b *bytes.Buffer, name string, typ byte, size int64) {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00        ", 0o644, os.Getuid(), os.Getgid(), size, 0))
	h[156] = typ
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(h)
}

func pad(b *bytes.Buffer, data []byte) {
	b.Write(data)
	b.Write(make([]byte, (512-len(data)%512)%512))
}

// TestSettle: implicit directories and foreign links take what the layers
// below have, as overlayfs would show it.
func TestSettle(t *testing.T) {
	mode := func(h *tar.Header, m int64) *tar.Header { h.Mode = m; return h }
	base, _, err := apply(t, pack(t, mode(dir("tmp"), 0o1777), dir("hidden"), mode(dir("hidden/x"), 0o700), file("f"), symlink("s", "f"), mode(dir("gone"), 0o700)))
	if err != nil {
		t.Fatal(err)
	}
	mid, _, err := apply(t, pack(t, dir("hidden"), file("hidden/.wh..wh..opq"), file(".wh.gone")))
	if err != nil {
		t.Fatal(err)
	}
	top, res, err := apply(t, pack(t, file("tmp/new"), file("hidden/x/new"), file("gone/new"), hardlink("h", "f"), hardlink("h2", "s"), hardlink("taken", "f"), file("taken")))
	if err != nil {
		t.Fatal(err)
	}
	if res.SelfContained() || len(res.Links) != 3 {
		t.Fatalf("result %+v", res)
	}
	f, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Settle(f, res, []string{mid, base}, testOptions()); err != nil {
		t.Fatal(err)
	}
	want := []string{"d gone", "f gone/new=gone/new", "f h=f", "l h2->f", "d hidden", "d hidden/x", "f hidden/x/new=hidden/x/new", "f taken=taken", "d tmp", "f tmp/new=tmp/new"}
	if d := cmp.Diff(want, tree(t, top)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	for name, want := range map[string]fs.FileMode{"tmp": fs.ModeDir | fs.ModeSticky | 0o777, "hidden/x": fs.ModeDir | 0o755, "gone": fs.ModeDir | 0o755} {
		if fi, err := os.Stat(filepath.Join(top, name)); err != nil || fi.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", name, fi.Mode(), want, err)
		}
	}
	if err := Settle(f, &Result{Links: []Link{{"x", "nowhere"}}}, []string{base}, testOptions()); !errors.Is(err, ErrUnsafe) {
		t.Errorf("link to nothing: %v", err)
	}
}

// TestNoLeaks: neither success nor refusal leaves a descriptor open.
func TestNoLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("needs /proc")
		}
		return len(entries)
	}
	var entries []*tar.Header
	for i := range 200 {
		entries = append(entries, dir(fmt.Sprintf("d%d", i)), file(fmt.Sprintf("d%d/f", i)))
	}
	before := count()
	for range 3 {
		apply(t, pack(t, entries...))
		apply(t, pack(t, slices.Concat(entries, []*tar.Header{file("../x")})...))
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(pack(f, dir("a"), file("a/b"), symlink("s", ".."), file("s/outside"), hardlink("h", "a/b")))
	f.Add(pack(f, file(".wh.a"), dir("a"), file("a/.wh..wh..opq"), entry(tar.TypeFifo, "p")))
	f.Add(pack(f, xattr(file("x"), "user.a", "b"), hardlink("y", "../outside")))
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		os.WriteFile(filepath.Join(base, "outside"), []byte("untouched"), 0o600)
		root := filepath.Join(base, "layer")
		os.Mkdir(root, 0o755)
		d, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		res, err := Apply(context.Background(), d, bytes.NewReader(data), &Options{Rootless: true, MaxSize: 1 << 20, MaxEntries: 1000})
		if err == nil {
			_ = Settle(d, res, nil, &Options{Rootless: true})
		}
		checkOutside(t, base)
	})
}

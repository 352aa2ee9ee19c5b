package image

import (
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
)

// The size of an image is noted when it comes, moves with its names, and is
// measured where nobody has noted it.
func TestDiskSize(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	base := layerOf(t, "a="+noise(5000, 1), "dir/b="+noise(300, 2), "dir/link=>a")
	img := newTestImage(t, base, layerOf(t, "c="+noise(70, 3)))
	ref := f.add(img, "repo", "1")
	const want = 5000 + 300 + 70
	got, err := s.Pull(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.DiskSize != want || got.Size >= want+5000 || got.Size == want {
		t.Errorf("pulled: %d bytes on disk and %d of blobs, want %d on disk", got.DiskSize, got.Size, want)
	}
	if err := s.Tag(ref, "localhost/other:1"); err != nil {
		t.Fatal(err)
	}
	moved := newTestImage(t, base)
	f.add(moved, "repo", "1")
	if _, err := s.Pull(t.Context(), ref, nil); err != nil { // what the name was of has another one still
		t.Fatal(err)
	}
	sizes := func() map[string]int64 {
		t.Helper()
		list, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		sizes := map[string]int64{}
		for _, m := range list {
			sizes[m.ID.String()] = m.DiskSize
		}
		return sizes
	}
	noted := sizes()
	if noted[got.ID.String()] != want || len(noted) != 2 {
		t.Errorf("listed: %v, want %d of two", noted, want)
	}
	if m, err := s.Resolve("localhost/other:1"); err != nil || m.DiskSize != want {
		t.Errorf("by its other name: %v, %v", m, err)
	}
	// A layout of another tool's.
	err = s.updateIndex(func(x *index) error {
		for i := range x.entries {
			delete(x.entries[i].Annotations, annotationSize)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Resolve("localhost/other:1"); err != nil || m.DiskSize != 0 {
		t.Errorf("not noted: %v, %v", m, err)
	}
	if measured := sizes(); measured[got.ID.String()] != want || measured[digest.FromBytes(moved.config).String()] != noted[digest.FromBytes(moved.config).String()] {
		t.Errorf("measured: %v, noted were %v", measured, noted)
	}
}

// Files with several links count once, what is no file not at all.
func TestTreeSize(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/a", make([]byte, 1000), 0o600),
		os.Mkdir(dir+"/sub", 0o700),
		os.WriteFile(dir+"/sub/b", make([]byte, 20), 0o600),
		os.Link(dir+"/a", dir+"/sub/c"),
		os.Symlink("a", dir+"/d"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := treeSize(dir); got != 1020 {
		t.Errorf("got %d, want 1020", got)
	}
	if got := treeSize(dir + "/none"); got != 0 {
		t.Errorf("of a tree that is not there: %d", got)
	}
}

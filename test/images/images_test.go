package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestTreesBecomeTheSameTar(t *testing.T) {
	make := func() []byte {
		root := t.TempDir()
		for name, data := range map[string]string{"b": "bb", "etc/keep": "1", "etc/hostname": "mine", "dev/null": "", "a": "a"} {
			path := filepath.Join(root, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o640)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.Link(filepath.Join(root, "a"), filepath.Join(root, "c")), os.Symlink("b", filepath.Join(root, "d"))); err != nil {
			t.Fatal(err)
		}
		data, err := tarTree(root, leftOut)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := make()
	if !bytes.Equal(first, make()) {
		t.Error("two equal trees make different tars")
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(first)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(h.Typeflag)+" "+h.Name+" "+h.Linkname)
	}
	want := []string{"0 a ", "0 b ", "1 c a", "2 d b", "5 dev/ ", "5 etc/ ", "0 etc/keep "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestImagesAreReproducible(t *testing.T) {
	digest := func(r recipe) v1.Hash {
		img, err := cache(t.TempDir()).image(r)
		if err != nil {
			t.Fatal(err)
		}
		h, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	r := recipe{layers: append([][]entry{bulk("x", 1, 3<<20)}, layered...), config: configConfig}
	first := digest(r)
	if second := digest(r); first != second {
		t.Errorf("%s and %s", first, second)
	}
	r.arch = "arm64"
	if second := digest(r); first == second {
		t.Error("another architecture has the same digest")
	}
}

func TestBulkHasItsSize(t *testing.T) {
	size, text := 0, 0
	for _, e := range bulk("x", 2, 30<<20) {
		size += len(e.data)
		if len(e.data) > 0 && !bytes.ContainsFunc(e.data, func(r rune) bool { return r > 'z' }) {
			text += len(e.data)
		}
	}
	if size != 30<<20 {
		t.Errorf("%d bytes, want %d", size, 30<<20)
	}
	if text < size/4 || text > size*3/4 {
		t.Errorf("%d of %d bytes are text, want about half", text, size)
	}
}

func TestRegistryStorage(t *testing.T) {
	img, err := cache(t.TempDir()).image(recipe{layers: [][]entry{{file("a", "a")}}})
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := register(root, "some/name:tag", img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(root, registryDir)
	link, err := os.ReadFile(filepath.Join(at, "repositories/some/name/_manifests/tags/tag/current/link"))
	if err != nil || string(link) != digest.String() {
		t.Errorf("tag is %q (%v), want %s", link, err, digest)
	}
	blob, err := os.ReadFile(filepath.Join(at, "blobs/sha256", digest.Hex[:2], digest.Hex, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := img.RawManifest(); err != nil || !bytes.Equal(blob, raw) {
		t.Errorf("blob %q is not the manifest (%v)", blob, err)
	}
}

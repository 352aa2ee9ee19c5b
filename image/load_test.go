package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestSaveLoad takes an image through both archive formats, from a file, a
// stream, a compressed stream and a directory, into an empty store.
func TestSaveLoad(t *testing.T) {
	ctx := context.Background()
	src := openTest(t)
	name := putImage(t, src, "docker.io/library/web:1", newTestImage(t,
		layerOf(t, "etc/", "etc/passwd=root"),
		zstdLayer(tarOf(t, "bin/", "bin/sh=#!")),
		plainLayer(tarOf(t, "etc/", "etc/.wh.passwd="))))
	want, err := src.Resolve(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Tag(name, "localhost/other:2"); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{DockerArchive, OCIArchive} {
		var b bytes.Buffer
		if err := src.Save(ctx, &b, []string{"web:1", "other:2"}, format); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := src.Save(ctx, &again, []string{"web:1", "other:2"}, format); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Errorf("%s: two saves of one image differ (%v)", format, err)
		}
		for how, load := range loaders(t, b.Bytes(), format) {
			t.Run(format+"/"+how, func(t *testing.T) {
				s := openTest(t)
				imgs, err := load(s)
				if err != nil {
					t.Fatal(err)
				}
				if len(imgs) != 1 || imgs[0].ID != want.ID {
					t.Fatalf("loaded %d images, first %v, want one, %v", len(imgs), imgs[0].ID, want.ID)
				}
				if got, want := imgs[0].Names, []string{"docker.io/library/web:1", "localhost/other:2"}; !slices.Equal(got, want) {
					t.Errorf("names %q, want %q", got, want)
				}
				got, err := s.Resolve("web:1")
				if err != nil || !got.Ready() {
					t.Fatalf("resolve: %v, %+v", err, got)
				}
				if data, err := os.ReadFile(filepath.Join(got.Layers[1].Dir, "bin/sh")); err != nil || string(data) != "#!" {
					t.Errorf("bin/sh = %q, %v", data, err)
				}
				if leftovers(t, s) > 0 {
					t.Error("tmp/ is not empty")
				}
			})
		}
	}
}

func loaders(t *testing.T, data []byte, format string) map[string]func(*Store) ([]*Image, error) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "a.tar")
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	zw.Write(data)
	zw.Close()
	zfile := file + ".gz"
	for name, content := range map[string][]byte{file: data, zfile: zipped.Bytes()} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := map[string]func(*Store) ([]*Image, error){
		"file":        func(s *Store) ([]*Image, error) { return s.Load(ctx, file, nil) },
		"gzip file":   func(s *Store) ([]*Image, error) { return s.Load(ctx, zfile, nil) },
		"stream":      func(s *Store) ([]*Image, error) { return s.LoadFrom(ctx, bytes.NewReader(data), nil) },
		"gzip stream": func(s *Store) ([]*Image, error) { return s.LoadFrom(ctx, &zipped, nil) },
	}
	if format == OCIArchive {
		dir := t.TempDir()
		untar(t, data, dir)
		m["directory"] = func(s *Store) ([]*Image, error) { return s.Load(ctx, dir, nil) }
	}
	return m
}

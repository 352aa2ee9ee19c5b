package image

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzManifest: documents from a registry. What is accepted holds what the
// rest of the package relies on.
func FuzzManifest(f *testing.F) {
	img := newTestImage(f, layerOf(f, "a=1"))
	f.Add(img.manifest, img.config)
	f.Add(mustJSON(f, ispec.Index{Manifests: []ispec.Descriptor{img.desc}}), []byte("{}"))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), []byte(`{"rootfs":{"diff_ids":["x"]}}`))
	f.Fuzz(func(t *testing.T, data, config []byte) {
		typ, err := manifestType(data, ispec.MediaTypeImageManifest)
		if err != nil {
			return
		}
		if isIndexType(typ) {
			var idx ispec.Index
			if json.Unmarshal(data, &idx) == nil {
				want, _ := ParsePlatform("")
				choosePlatform(idx.Manifests, want) //nolint:errcheck // must not panic
			}
			return
		}
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		c, err := parseConfig(config, m)
		if err != nil {
			return
		}
		for _, l := range newImage(ispec.Descriptor{}, m, c, config).Layers {
			if !isDigest(l.Digest.String()) || !isDigest(l.DiffID.String()) || l.Size < 0 {
				t.Fatalf("layer %+v", l)
			}
		}
	})
}

// FuzzIndex: index.json of a layout another tool wrote; and the quick way to
// read ours agrees with the full one.
func FuzzIndex(f *testing.F) {
	img := newTestImage(f)
	x := &index{}
	x.set(newEntry(img.desc, img.desc.Digest, 0, "docker.io/library/a:1"))
	x.set(newEntry(img.desc, img.desc.Digest, 0, "docker.io/library/b:1"))
	data, err := x.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, "docker.io/library/a:1")
	f.Add([]byte(`{"manifests":[{"digest":"`+someDigest+`"}]}`), "x")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		x, err := parseIndex(data)
		if err != nil {
			return
		}
		out, err := x.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseIndex(out)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(x.entries, again.entries); d != "" && len(x.entries) > 0 {
			t.Fatalf("not the same after writing and reading:\n%s", d)
		}
		if ref, err := ParseReference(name); err == nil {
			if q := quickIndex(out, ref.String()); q != nil {
				if q.byName(ref.String()) == nil || x.byName(ref.String()) == nil {
					t.Fatalf("quick index has %q: %v", ref, q.entries)
				}
			}
		}
	})
}

// FuzzLoad: archives from anywhere.
func FuzzLoad(f *testing.F) {
	src, err := Open(f.TempDir(), &Options{Rootless: os.Geteuid() != 0})
	if err != nil {
		f.Fatal(err)
	}
	putImage(f, src, "docker.io/library/a:1", newTestImage(f, layerOf(f, "a=1")))
	for _, format := range []string{DockerArchive, OCIArchive} {
		var b bytes.Buffer
		if err := src.Save(f.Context(), &b, []string{"a:1"}, format); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add(tarOf(f, `manifest.json=[{"Config":"../../etc/passwd","Layers":["a","b"]}]`, "a->../../etc/passwd", "b->b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Open(t.TempDir(), &Options{Rootless: true})
		if err != nil {
			t.Fatal(err)
		}
		imgs, err := s.LoadFrom(t.Context(), bytes.NewReader(data), nil)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("error of several lines: %q", err)
		}
		for _, img := range imgs {
			if got, err := s.Resolve(img.ID.String()); err != nil || !got.Ready() {
				t.Fatalf("loaded %s: %v", img.ID, err)
			}
		}
		if err := s.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if leftovers(t, s) > 0 {
			t.Fatal("left something in tmp/")
		}
	})
}

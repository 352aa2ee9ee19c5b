package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// testImage is an image assembled in memory.
type testImage struct {
	manifest []byte
	desc     ispec.Descriptor
	config   []byte
	layers   []testLayer
}

type testLayer struct {
	tar, blob []byte
	mediaType string
}

func (l testLayer) diffID() digest.Digest { return digest.FromBytes(l.tar) }
func (l testLayer) digest() digest.Digest { return digest.FromBytes(l.blob) }

// tarOf makes a tar of entries like "dir/", "file=content", "link->target",
// "hard=>target".
func tarOf(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		hdr := &tar.Header{Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid(), ModTime: time.Unix(1e9, 0)}
		var content string
		if name, target, ok := strings.Cut(e, "=>"); ok {
			hdr.Name, hdr.Linkname, hdr.Typeflag = name, target, tar.TypeLink
		} else if name, target, ok := strings.Cut(e, "->"); ok {
			hdr.Name, hdr.Linkname, hdr.Typeflag = name, target, tar.TypeSymlink
		} else if strings.HasSuffix(e, "/") {
			hdr.Name, hdr.Mode, hdr.Typeflag = e, 0o755, tar.TypeDir
		} else {
			hdr.Name, content, _ = strings.Cut(e, "=")
			hdr.Typeflag, hdr.Size = tar.TypeReg, int64(len(content))
		}
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		io.WriteString(tw, content)
	}
	tw.Close()
	return b.Bytes()
}

func layerOf(t testing.TB, entries ...string) testLayer { return gzipLayer(tarOf(t, entries...)) }

func gzipLayer(data []byte) testLayer {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	zw.Write(data)
	zw.Close()
	return testLayer{tar: data, blob: b.Bytes(), mediaType: ispec.MediaTypeImageLayerGzip}
}

func zstdLayer(data []byte) testLayer {
	zw, _ := zstd.NewWriter(nil)
	return testLayer{tar: data, blob: zw.EncodeAll(data, nil), mediaType: ispec.MediaTypeImageLayerZstd}
}

func plainLayer(data []byte) testLayer {
	return testLayer{tar: data, blob: data, mediaType: ispec.MediaTypeImageLayer}
}

func newTestImage(t testing.TB, layers ...testLayer) *testImage {
	return newTestImageFor(t, ispec.Platform{OS: "linux", Architecture: "amd64"}, layers...)
}

func newTestImageFor(t testing.TB, p ispec.Platform, layers ...testLayer) *testImage {
	t.Helper()
	img := &testImage{layers: layers}
	created := time.Unix(1.6e9, 0).UTC()
	config := ispec.Image{Created: &created, Platform: p, RootFS: ispec.RootFS{Type: "layers"}}
	config.Config.Cmd = []string{"sh"}
	m := ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID())
		m.Layers = append(m.Layers, ispec.Descriptor{MediaType: l.mediaType, Digest: l.digest(), Size: int64(len(l.blob))})
	}
	img.config = mustJSON(t, config)
	m.Config = ispec.Descriptor{MediaType: ispec.MediaTypeImageConfig, Digest: digest.FromBytes(img.config), Size: int64(len(img.config))}
	img.manifest = mustJSON(t, m)
	img.desc = ispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(img.manifest), Size: int64(len(img.manifest)), Platform: &p}
	return img
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// push puts the image into a registry by the plain protocol.
func (img *testImage) push(t testing.TB, url, repo, tag string) {
	t.Helper()
	pushBlob(t, url, repo, img.config)
	for _, l := range img.layers {
		pushBlob(t, url, repo, l.blob)
	}
	pushManifest(t, url, repo, tag, img.desc.MediaType, img.manifest)
}

func pushBlob(t testing.TB, url, repo string, data []byte) {
	t.Helper()
	resp, err := http.Post(url+"/v2/"+repo+"/blobs/uploads/?digest="+digest.FromBytes(data).String(), "application/octet-stream", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("push blob: %s", resp.Status)
	}
}

func pushManifest(t testing.TB, url, repo, tag, mediaType string, data []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/v2/"+repo+"/manifests/"+tag, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("push manifest: %s", resp.Status)
	}
}

func openTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), &Options{Rootless: os.Geteuid() != 0})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// putImage puts an image into a store, by way of an archive, and names it.
func putImage(t testing.TB, s *Store, name string, img *testImage) string {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	put := func(name string, data []byte) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		tw.Write(data)
	}
	put("oci-layout", []byte(layoutFile))
	desc := img.desc
	desc.Annotations = map[string]string{ispec.AnnotationRefName: name}
	put("index.json", mustJSON(t, ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ispec.Descriptor{desc}}))
	put(blobName(img.desc.Digest), img.manifest)
	put(blobName(digest.FromBytes(img.config)), img.config)
	for _, l := range img.layers {
		put(blobName(l.digest()), l.blob)
	}
	tw.Close()
	if _, err := s.LoadFrom(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func untar(t testing.TB, data []byte, dir string) {
	t.Helper()
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, hdr.Name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(f, tr)
		f.Close()
	}
}

// leftovers counts what is in tmp/.
func leftovers(t testing.TB, s *Store) int {
	t.Helper()
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Logf("in tmp/: %s", e.Name())
	}
	return len(entries)
}

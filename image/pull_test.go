package image

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"io"
	"log"
)

func TestPullThin(t *testing.T) {
	reg := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer reg.Close()
	host := strings.TrimPrefix(reg.URL, "http://")
	img := newTestImage(t, layerOf(t, "etc/", "etc/passwd=root:x"), layerOf(t, "etc/", "etc/.wh.passwd", "bin/", "bin/sh=#!"))
	img.push(t, reg.URL, "foo/bar", "1")
	s := openTest(t)
	got, err := s.Pull(context.Background(), host+"/foo/bar:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(host + "/foo/bar:1")
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != got.ID || len(r.Layers) != 2 || !r.Ready() {
		t.Fatalf("resolved %+v", r)
	}
	data, err := os.ReadFile(filepath.Join(r.Layers[1].Dir, "bin/sh"))
	if err != nil || string(data) != "#!" {
		t.Fatalf("bin/sh = %q, %v", data, err)
	}
}

package image

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// TestRemove follows docker rmi.
func TestRemove(t *testing.T) {
	s := openTest(t)
	base := layerOf(t, "base=1")
	a, b := newTestImage(t, base, layerOf(t, "a=1")), newTestImage(t, base, layerOf(t, "b=1"))
	putImage(t, s, "docker.io/library/a:1", a)
	putImage(t, s, "docker.io/library/b:1", b)
	idA := digest.FromBytes(a.config)
	for _, name := range []string{"a:2", "localhost:5000/other/a"} {
		if err := s.Tag("a:1", name); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(name string, opts *RemoveOptions) []Removed {
		t.Helper()
		got, err := s.Remove(t.Context(), name, opts)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if d := cmp.Diff([]Removed{{Untagged: "docker.io/library/a:2"}}, remove("a:2", nil)); d != "" {
		t.Errorf("one of three names (-want +got):\n%s", d)
	}
	checkImage(t, s, "a:1", a)
	if _, err := s.Remove(t.Context(), idA.Encoded()[:12], nil); err == nil || !strings.Contains(err.Error(), "docker.io/library/a:1, localhost:5000/other/a:latest") {
		t.Errorf("by ID with two names: %v", err)
	}
	busy := &RemoveOptions{Force: true, InUse: func(id digest.Digest) ([]string, error) {
		if id == idA {
			return []string{"web"}, nil
		}
		return nil, nil
	}}
	if _, err := s.Remove(t.Context(), idA.String(), busy); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "image is in use by container web: remove that first") {
		t.Errorf("in use: %v", err)
	}
	// Losing one name of two harms no container.
	remove("localhost:5000/other/a", busy)
	if _, err := s.Remove(t.Context(), "a:1", busy); !errors.Is(err, ErrInUse) {
		t.Errorf("last name, in use: %v", err)
	}
	late := 0
	racing := &RemoveOptions{InUse: func(digest.Digest) ([]string, error) {
		late++
		if late == 2 {
			return []string{"new"}, nil
		}
		return nil, nil
	}}
	if _, err := s.Remove(t.Context(), "a:1", racing); !errors.Is(err, ErrInUse) || late != 2 {
		t.Errorf("used in the last moment: %v", err)
	}
	checkImage(t, s, "a:1", a)
	if d := cmp.Diff([]Removed{{Untagged: "docker.io/library/a:1"}, {Deleted: idA}}, remove("a:1", nil)); d != "" {
		t.Errorf("last name (-want +got):\n%s", d)
	}
	checkImage(t, s, "b:1", b)
	if _, err := os.Stat(s.blobPath(a.layers[1].digest())); !os.IsNotExist(err) {
		t.Errorf("blob of a removed image: %v", err)
	}
	if _, err := os.Stat(s.layerPath(a.layers[1].diffID())); !os.IsNotExist(err) {
		t.Errorf("layer of a removed image: %v", err)
	}
	remove(digest.FromBytes(b.config).Encoded()[:3], nil)
	checkEmpty(t, s)
	checkClean(t, s)
	if _, err := s.Remove(t.Context(), "b:1", nil); !errors.Is(err, ErrNotExist) {
		t.Errorf("again: %v", err)
	}
}

// TestRemoveDigestNames: a name by digest is a name, but not one that keeps
// an image from going with its tag.
func TestRemoveDigestNames(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	img := newTestImage(t, layerOf(t, "a=1"))
	ref := f.add(img, "repo", "1")
	for _, name := range []string{ref, strings.TrimSuffix(ref, ":1") + "@" + img.desc.Digest.String()} {
		if _, err := s.Pull(t.Context(), ref, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Remove(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		_, err := s.Resolve(ref)
		if byTag := name == ref; byTag != errors.Is(err, ErrNotExist) {
			t.Errorf("after removing %s: %v", name, err)
		}
	}
}

// TestRetag: an image that loses its name to another stays, without a name.
func TestRetag(t *testing.T) {
	s := openTest(t)
	a, b := newTestImage(t, layerOf(t, "a=1")), newTestImage(t, layerOf(t, "b=1"))
	putImage(t, s, "docker.io/library/x:1", a)
	putImage(t, s, "docker.io/library/x:1", b)
	checkImage(t, s, "x:1", b)
	idA := digest.FromBytes(a.config)
	img := checkImage(t, s, idA.String(), a)
	if len(img.Names) != 0 {
		t.Errorf("names %q", img.Names)
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkImage(t, s, idA.Encoded()[:8], a)
	if err := s.Tag(idA.Encoded(), "x:old"); err != nil {
		t.Fatal(err)
	}
	if imgs, err := s.List(); err != nil || len(imgs) != 2 {
		t.Errorf("list: %d, %v", len(imgs), err)
	}
	for _, bad := range []string{"X", "x@" + idA.String(), ""} {
		if err := s.Tag("x:1", bad); !errors.Is(err, ErrBadReference) {
			t.Errorf("tag as %q: %v", bad, err)
		}
	}
}

func TestResolve(t *testing.T) {
	s := openTest(t)
	img := newTestImage(t, layerOf(t, "a=1"))
	id := digest.FromBytes(img.config)
	putImage(t, s, "docker.io/library/web:latest", img)
	if err := s.Tag("web", "localhost/mine:1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "web:latest", "library/web", "docker.io/web", "index.docker.io/library/web", "mine:1", "localhost/mine:1",
		id.String(), id.Encoded(), id.Encoded()[:12], id.Encoded()[:3], "web@" + img.desc.Digest.String(), "web:other@" + img.desc.Digest.String()} {
		if got, err := s.Resolve(name); err != nil || got.ID != id {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"web:2", "mine", "quay.io/library/web", id.Encoded()[:2], "sha256:" + strings.Repeat("0", 64), "web@sha256:" + strings.Repeat("0", 64)} {
		if _, err := s.Resolve(name); !errors.Is(err, ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "Web", "a//b", "web:"} {
		if _, err := s.Resolve(name); !errors.Is(err, ErrBadReference) {
			t.Errorf("%q: %v", name, err)
		}
	}
	// Until two IDs begin alike.
	first := map[string]bool{id.Encoded()[:3]: true}
	for i := 0; ; i++ {
		other := newTestImage(t, layerOf(t, "a="+strings.Repeat("x", i)))
		prefix := digest.FromBytes(other.config).Encoded()[:3]
		if first[prefix] && digest.FromBytes(other.config) != id {
			putImage(t, s, "docker.io/library/other:1", other)
			if _, err := s.Resolve(prefix); !errors.Is(err, ErrAmbiguous) {
				t.Errorf("%s: %v", prefix, err)
			}
			return
		}
	}
}

// TestCollectKeepsClaims: what a live operation has claimed stays, a dead
// one's does not.
func TestCollectKeepsClaims(t *testing.T) {
	s := openTest(t)
	data := []byte("blob")
	d := digest.FromBytes(data)
	if err := s.putBlob(d, data); err != nil {
		t.Fatal(err)
	}
	l, err := s.newLease()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.add(d); err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.blobPath(d)); err != nil {
		t.Errorf("claimed blob: %v", err)
	}
	l.f.Close() // as if killed
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, s)
	checkClean(t, s)
}

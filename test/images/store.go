package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// sources are part of the stamp: images change when what makes them does.
//
//go:embed *.go
var sources embed.FS

const (
	ociDir      = "usr/share/berth-test/oci"
	archiveDir  = "usr/share/berth-test/archives"
	registryDir = "var/lib/berth-test/registry/docker/registry/v2"
	refName     = "org.opencontainers.image.ref.name"
)

// stamp names what the images are made of: this program and the trees.
func (c cache) stamp() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	if err != nil {
		return "", err
	}
	for _, tree := range trees {
		target, err := os.Readlink(c.path("rootfs", tree))
		if err != nil {
			return "", fmt.Errorf("%w (run test/rootfs %s)", err, strings.Join(trees, " "))
		}
		fmt.Fprintln(h, target)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// build makes the tree unless it is there, under a temporary name, and moves the link to it.
func (c cache) build() (string, error) {
	stamp, err := c.stamp()
	if err != nil {
		return "", err
	}
	lock, err := os.Create(c.path("images.lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	dir := c.path("images-" + stamp)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := c.write(tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	link := c.path("images")
	if err := os.Symlink(filepath.Base(dir), link+".tmp"); err != nil {
		return "", err
	}
	return dir, os.Rename(link+".tmp", link)
}

func (c cache) write(root string) error {
	recipes, err := c.recipes()
	if err != nil {
		return err
	}
	oci, err := layout.Write(filepath.Join(root, ociDir), empty.Index)
	if err != nil {
		return err
	}
	images := map[string]v1.Image{}
	for _, ref := range slices.Sorted(maps.Keys(recipes)) {
		img, err := c.image(recipes[ref])
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		images[ref] = img
		if err := oci.AppendImage(img, layout.WithAnnotations(map[string]string{refName: ref})); err != nil {
			return fmt.Errorf("write %s: %w", ref, err)
		}
		if err := register(root, ref, img); err != nil {
			return fmt.Errorf("register %s: %w", ref, err)
		}
	}
	for ref, parts := range indexes {
		idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, part := range parts {
			cf, err := images[part].ConfigFile()
			if err != nil {
				return err
			}
			idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: images[part], Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture},
			}})
		}
		if err := oci.AppendIndex(idx, layout.WithAnnotations(map[string]string{refName: ref})); err != nil {
			return fmt.Errorf("write %s: %w", ref, err)
		}
		if err := register(root, ref, idx); err != nil {
			return fmt.Errorf("register %s: %w", ref, err)
		}
		for _, part := range parts {
			if err := registerImage(root, repository(ref), images[part]); err != nil {
				return err
			}
		}
	}
	return writeArchives(root, images["busybox:latest"], images["busybox:docker"])
}

func repository(ref string) string { repo, _, _ := strings.Cut(ref, ":"); return repo }

// manifested is what an image and an index have in common.
type manifested interface {
	Digest() (v1.Hash, error)
	RawManifest() ([]byte, error)
}

// register writes a tagged image as docker-registry's storage driver "filesystem" would: blobs by digest, and small
// files named link that hold a digest. This layout has been the same since the registry's version 2.0.
func register(root, ref string, m manifested) error {
	repo, tag, _ := strings.Cut(ref, ":")
	if img, ok := m.(v1.Image); ok {
		if err := registerImage(root, repo, img); err != nil {
			return err
		}
	} else if err := registerManifest(root, repo, m); err != nil {
		return err
	}
	digest, err := m.Digest()
	if err != nil {
		return err
	}
	tags := filepath.Join(root, registryDir, "repositories", repo, "_manifests/tags", tag)
	return errors.Join(
		writeLink(filepath.Join(tags, "current"), digest),
		writeLink(filepath.Join(tags, "index/sha256", digest.Hex), digest),
	)
}

func registerManifest(root, repo string, m manifested) error {
	digest, err := m.Digest()
	if err != nil {
		return err
	}
	raw, err := m.RawManifest()
	if err != nil {
		return err
	}
	return errors.Join(
		linkBlob(root, digest, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }),
		writeLink(filepath.Join(root, registryDir, "repositories", repo, "_manifests/revisions/sha256", digest.Hex), digest),
	)
}

func registerImage(root, repo string, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	config, err := partial.ConfigLayer(img)
	if err != nil {
		return err
	}
	for _, l := range append(layers, config) {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		err = errors.Join(
			linkBlob(root, digest, l.Compressed),
			writeLink(filepath.Join(root, registryDir, "repositories", repo, "_layers/sha256", digest.Hex), digest),
		)
		if err != nil {
			return err
		}
	}
	return registerManifest(root, repo, img)
}

func writeLink(dir string, digest v1.Hash) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "link"), []byte(digest.String()), 0o644)
}

// linkBlob gives the registry the blob that the OCI layout has already, or writes it.
func linkBlob(root string, digest v1.Hash, open func() (io.ReadCloser, error)) error {
	dst := filepath.Join(root, registryDir, "blobs/sha256", digest.Hex[:2], digest.Hex, "data")
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	err := os.Link(filepath.Join(root, ociDir, "blobs/sha256", digest.Hex), dst)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(dst)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func writeArchives(root string, oci, docker v1.Image) error {
	dir := filepath.Join(root, archiveDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tag, err := name.NewTag("localhost/busybox:archived")
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "busybox.docker.tar"), tag, docker); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(root, "archive-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	p, err := layout.Write(tmp, empty.Index)
	if err != nil {
		return err
	}
	if err := p.AppendImage(oci, layout.WithAnnotations(map[string]string{refName: tag.String()})); err != nil {
		return err
	}
	data, err := tarTree(tmp, nil)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "busybox.oci.tar"), data, 0o644)
}

// built is the index of what is built; every entry is named.
func (c cache) built() (layout.Path, map[string]v1.Descriptor, error) {
	p, err := layout.FromPath(c.path("images", ociDir))
	if err != nil {
		return "", nil, fmt.Errorf("%w (run images build)", err)
	}
	idx, err := p.ImageIndex()
	if err != nil {
		return "", nil, err
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return "", nil, err
	}
	byName := map[string]v1.Descriptor{}
	for _, d := range m.Manifests {
		byName[d.Annotations[refName]] = d
	}
	return p, byName, nil
}

func (c cache) list(out io.Writer) error {
	p, byName, err := c.built()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, ref := range slices.Sorted(maps.Keys(byName)) {
		d, size := byName[ref], int64(0)
		if d.MediaType.IsImage() {
			img, err := p.Image(d.Digest)
			if err != nil {
				return err
			}
			m, err := img.Manifest()
			if err != nil {
				return err
			}
			for _, l := range m.Layers {
				size += l.Size
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f MB\n", ref, d.Digest, float64(size)/1e6)
	}
	return w.Flush()
}

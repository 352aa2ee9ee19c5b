package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Formats of Save.
const (
	DockerArchive = "docker-archive"
	OCIArchive    = "oci-archive"
)

// Save writes images as an archive that Load, docker load and podman load
// read. An image keeps the names it is given by here; several names of one
// image are stored once.
//
// Blobs are written as they are, but for zstd layers in a docker-archive:
// those are decompressed, since docker before 23 does not know them.
func (s *Store) Save(ctx context.Context, w io.Writer, names []string, format string) error {
	imgs, err := s.resolveAll(names)
	if err != nil {
		return err
	}
	sv := &saver{ctx: ctx, s: s, tw: tar.NewWriter(w), done: make(map[string]bool)}
	switch format {
	case DockerArchive, "":
		err = sv.docker(imgs)
	case OCIArchive, "oci":
		err = sv.oci(imgs)
	default:
		err = fmt.Errorf("format %q: %w: want %s or %s", format, ErrUnsupported, DockerArchive, OCIArchive)
	}
	if err == nil {
		err = sv.tw.Close()
	}
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return nil
}

// savedImage is an image with the names to save it by.
type savedImage struct {
	*Image
	tags []string
}

func (s *Store) resolveAll(names []string) ([]*savedImage, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, fmt.Errorf("save: %w", err)
	}
	var imgs []*savedImage
	for _, name := range names {
		e, err := s.find(x, name)
		if err != nil {
			return nil, err
		}
		img, err := s.load(x, e)
		if err != nil {
			return nil, fmt.Errorf("save image %s: %w", name, err)
		}
		i := slices.IndexFunc(imgs, func(m *savedImage) bool { return m.Manifest.Digest == img.Manifest.Digest })
		if i < 0 {
			imgs = append(imgs, &savedImage{Image: img})
			i = len(imgs) - 1
		}
		if tag := entryName(e); nameMatches(name, tag) && slices.Contains(img.Names, tag) && !slices.Contains(imgs[i].tags, tag) {
			imgs[i].tags = append(imgs[i].tags, tag)
		}
	}
	return imgs, nil
}

// saver writes one archive.
type saver struct {
	ctx  context.Context // of the Save call it lives in
	s    *Store
	tw   *tar.Writer
	done map[string]bool // members written
}

func (sv *saver) oci(imgs []*savedImage) error {
	var x index
	for _, img := range imgs {
		for _, d := range slices.Concat([]digest.Digest{img.Manifest.Digest, img.ID}, layerDigests(img.Image)) {
			if err := sv.blob(blobName(d), d); err != nil {
				return err
			}
		}
		e := ispec.Descriptor{MediaType: img.Manifest.MediaType, Digest: img.Manifest.Digest, Size: img.Manifest.Size, Platform: img.Manifest.Platform}
		if len(img.tags) == 0 {
			x.entries = append(x.entries, e)
		}
		for _, tag := range img.tags {
			e.Annotations = map[string]string{ispec.AnnotationRefName: tag, annotationName: tag}
			x.entries = append(x.entries, e)
		}
	}
	data, err := x.marshal()
	if err != nil {
		return err
	}
	if err := sv.bytes("index.json", data); err != nil {
		return err
	}
	return sv.bytes("oci-layout", []byte(layoutFile))
}

func layerDigests(img *Image) []digest.Digest {
	ds := make([]digest.Digest, len(img.Layers))
	for i, l := range img.Layers {
		ds[i] = l.Digest
	}
	return ds
}

func (sv *saver) docker(imgs []*savedImage) error {
	var entries []dockerEntry
	for _, img := range imgs {
		e := dockerEntry{Config: img.ID.Encoded() + ".json", RepoTags: img.tags}
		if err := sv.bytes(e.Config, img.RawConfig); err != nil {
			return err
		}
		for i := range img.Layers {
			l := &img.Layers[i]
			name := l.Digest.Encoded() + ".tar"
			e.Layers = append(e.Layers, name)
			if err := sv.dockerLayer(name, l); err != nil {
				return err
			}
		}
		entries = append(entries, e)
	}
	data, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return sv.bytes("manifest.json", data)
}

func (sv *saver) dockerLayer(name string, l *Layer) error {
	f, err := os.Open(sv.s.blobPath(l.Digest))
	if err != nil {
		return err
	}
	magic := make([]byte, 6)
	n, err := f.ReadAt(magic, 0)
	f.Close()
	if err != nil && err != io.EOF {
		return err
	}
	if layerType(magic[:n]) != ispec.MediaTypeImageLayerZstd {
		return sv.blob(name, l.Digest)
	}
	return sv.inflated(name, l)
}

// inflated writes a layer decompressed. A tar member's size comes first, so
// the layer is read twice: that is cheaper than a temporary copy.
func (sv *saver) inflated(name string, l *Layer) error {
	size, err := sv.inflate(io.Discard, l)
	if err != nil {
		return err
	}
	if ok, err := sv.header(name, size); !ok {
		return err
	}
	_, err = sv.inflate(sv.tw, l)
	return err
}

func (sv *saver) inflate(w io.Writer, l *Layer) (int64, error) {
	f, err := os.Open(sv.s.blobPath(l.Digest))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, done, err := decompressor(f)
	if err != nil {
		return 0, err
	}
	defer done()
	sum := digest.SHA256.Digester()
	n, err := io.Copy(io.MultiWriter(w, sum.Hash()), r)
	if err == nil && sum.Digest() != l.DiffID {
		err = fmt.Errorf("layer %s: %w", l.Digest, ErrCorrupt)
	}
	return n, err
}

// blob copies a blob of the store, verifying it on the way.
func (sv *saver) blob(name string, d digest.Digest) error {
	f, err := os.Open(sv.s.blobPath(d))
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if ok, err := sv.header(name, fi.Size()); !ok {
		return err
	}
	sum := digest.SHA256.Digester()
	if _, err := io.CopyBuffer(io.MultiWriter(sv.tw, sum.Hash()), struct{ io.Reader }{f}, make([]byte, chunkSize)); err != nil {
		return err
	}
	if sum.Digest() != d {
		return fmt.Errorf("blob %s: %w: remove the image and pull it again", d, ErrCorrupt)
	}
	return nil
}

func (sv *saver) bytes(name string, data []byte) error {
	if ok, err := sv.header(name, int64(len(data))); !ok {
		return err
	}
	_, err := sv.tw.Write(data)
	return err
}

// header begins a member, once; ok says that its content is to follow. The
// time is fixed: the same images make the same archive.
func (sv *saver) header(name string, size int64) (ok bool, err error) {
	if sv.done[name] {
		return false, nil
	}
	if err := sv.ctx.Err(); err != nil {
		return false, err
	}
	sv.done[name] = true
	err = sv.tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	return err == nil, err
}

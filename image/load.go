package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationName is where containerd, and docker since 25, put the full name.
const annotationName = "io.containerd.image.name"

// LoadOptions say how to load. The zero value loads for this machine.
type LoadOptions struct {
	Platform string      // which image of a multi-platform one: os/arch[/variant]
	Progress func(Event) // as for Pull
}

// Load reads the images of an archive, as written by "save" of docker, podman
// or Save, compressed or not, or of a directory in OCI layout. Images whose
// archive does not name them are stored without a name.
func (s *Store) Load(ctx context.Context, path string, opts *LoadOptions) ([]*Image, error) {
	a, err := s.openArchive(ctx, path)
	if err != nil {
		return nil, loadError(path, err)
	}
	defer a.close()
	imgs, err := s.loadArchive(ctx, a, opts)
	return imgs, loadError(path, err)
}

// LoadFrom is Load from a stream.
func (s *Store) LoadFrom(ctx context.Context, r io.Reader, opts *LoadOptions) ([]*Image, error) {
	a, err := s.spool(ctx, r)
	if err != nil {
		return nil, loadError("archive", err)
	}
	defer a.close()
	imgs, err := s.loadArchive(ctx, a, opts)
	return imgs, loadError("archive", err)
}

func loadError(what string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Path == what {
		err = pe.Err
	}
	return fmt.Errorf("load %s: %w", what, err)
}

// loader is one load under way.
type loader struct {
	s     *Store
	a     *archive
	lease *lease
	rep   reporter
	want  ispec.Platform
	tags  map[digest.Digest][]string // by image ID, from manifest.json
}

func (s *Store) loadArchive(ctx context.Context, a *archive, opts *LoadOptions) ([]*Image, error) {
	if opts == nil {
		opts = &LoadOptions{}
	}
	want, err := ParsePlatform(opts.Platform)
	if err != nil {
		return nil, err
	}
	s.tidy(ctx)
	lease, err := s.newLease()
	if err != nil {
		return nil, s.diskError(err)
	}
	defer lease.release()
	l := &loader{s: s, a: a, lease: lease, rep: reporter{fn: opts.Progress}, want: want}
	switch {
	case a.has("oci-layout") && a.has("index.json"):
		return l.oci(ctx)
	case a.has("manifest.json"):
		return l.docker(ctx)
	}
	return nil, fmt.Errorf("neither manifest.json nor index.json in it: %w", ErrUnsupported)
}

// oci loads every image of index.json. docker's archives have both kinds of
// table of contents; names may be in either.
func (l *loader) oci(ctx context.Context) ([]*Image, error) {
	data, err := l.a.read("index.json", maxIndexSize)
	if err != nil {
		return nil, err
	}
	x, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	l.readTags()
	var imgs []*Image
	for i := range x.entries {
		img, err := l.ociImage(ctx, x.entries[i])
		if err != nil {
			return imgs, err
		}
		imgs = slices.DeleteFunc(imgs, func(m *Image) bool { return m.ID == img.ID })
		imgs = append(imgs, img)
	}
	if len(imgs) == 0 {
		return nil, fmt.Errorf("no image in it: %w", ErrUnsupported)
	}
	return imgs, nil
}

func blobName(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }

func (l *loader) ociImage(ctx context.Context, e ispec.Descriptor) (*Image, error) {
	desc := e
	for depth := 0; isIndexType(desc.MediaType); depth++ {
		data, err := l.blob(desc.Digest, maxManifestSize)
		if err != nil {
			return nil, err
		}
		inner, err := parseIndex(data)
		if err != nil || depth > 3 {
			return nil, fmt.Errorf("index %s: %w", desc.Digest, errors.Join(err, ErrUnsupported))
		}
		// An archive need not have every platform its index lists.
		here := slices.DeleteFunc(inner.entries, func(d ispec.Descriptor) bool { return !l.a.has(blobName(d.Digest)) })
		if desc, err = choosePlatform(here, l.want); err != nil && len(here) == 1 {
			desc, err = here[0], nil
		}
		if err != nil {
			return nil, err
		}
	}
	data, err := l.blob(desc.Digest, maxManifestSize)
	if err != nil {
		return nil, err
	}
	if desc.MediaType, err = manifestType(data, desc.MediaType); err != nil {
		return nil, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	config, err := l.blob(m.Config.Digest, maxConfigSize)
	if err != nil {
		return nil, err
	}
	names := slices.Concat(l.tags[m.Config.Digest], annotatedNames(&e))
	slices.Sort(names)
	return l.install(ctx, data, ispec.Descriptor{
		MediaType: desc.MediaType,
		Digest:    desc.Digest,
		Size:      int64(len(data)),
		Platform:  desc.Platform,
	}, config, slices.Compact(names), func(d digest.Digest) string { return blobName(d) })
}

// annotatedNames reads the names of an index entry. A bare tag is none: it
// does not say of what.
func annotatedNames(e *ispec.Descriptor) []string {
	for _, key := range []string{annotationName, ispec.AnnotationRefName} {
		name := e.Annotations[key]
		if !strings.ContainsAny(name, "/:") {
			continue
		}
		if ref, err := ParseReference(name); err == nil && ref.Tag != "" {
			ref.Digest = ""
			return []string{ref.String()}
		}
	}
	return nil
}

// blob reads and verifies a small blob of an OCI archive.
func (l *loader) blob(d digest.Digest, limit int64) ([]byte, error) {
	if !isDigest(d.String()) {
		return nil, fmt.Errorf("digest %q: %w", d, ErrUnsupported)
	}
	data, err := l.a.read(blobName(d), limit)
	if err != nil {
		return nil, err
	}
	if digest.SHA256.FromBytes(data) != d {
		return nil, fmt.Errorf("blob %s: %w", d, ErrCorrupt)
	}
	return data, nil
}

// dockerEntry is one image of manifest.json.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (l *loader) dockerEntries() ([]dockerEntry, error) {
	data, err := l.a.read("manifest.json", maxManifestSize)
	if err != nil {
		return nil, err
	}
	var entries []dockerEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	return entries, nil
}

// readTags takes the names from manifest.json, if there is one.
func (l *loader) readTags() {
	entries, err := l.dockerEntries()
	if err != nil {
		return
	}
	l.tags = make(map[digest.Digest][]string)
	for _, e := range entries {
		config, err := l.a.read(e.Config, maxConfigSize)
		if err != nil {
			continue
		}
		id := digest.SHA256.FromBytes(config)
		for _, t := range e.RepoTags {
			if ref, err := ParseReference(t); err == nil && ref.Digest == "" {
				l.tags[id] = append(l.tags[id], ref.String())
			}
		}
	}
}

// docker loads every image of manifest.json.
func (l *loader) docker(ctx context.Context) ([]*Image, error) {
	entries, err := l.dockerEntries()
	if err != nil {
		return nil, err
	}
	var imgs []*Image
	for i := range entries {
		img, err := l.dockerImage(ctx, &entries[i])
		if err != nil {
			return imgs, err
		}
		imgs = append(imgs, img)
	}
	if len(imgs) == 0 {
		return nil, fmt.Errorf("no image in it: %w", ErrUnsupported)
	}
	return imgs, nil
}

// dockerImage makes the manifest that docker's format lacks. The layers are
// stored as they are; the ID stays.
func (l *loader) dockerImage(ctx context.Context, e *dockerEntry) (*Image, error) {
	raw, err := l.a.read(e.Config, maxConfigSize)
	if err != nil {
		return nil, err
	}
	m := &ispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ispec.MediaTypeImageManifest,
		Config: ispec.Descriptor{
			MediaType: ispec.MediaTypeImageConfig,
			Digest:    digest.SHA256.FromBytes(raw),
			Size:      int64(len(raw)),
		},
		Layers: make([]ispec.Descriptor, len(e.Layers)),
	}
	config, err := parseConfig(raw, m)
	if err != nil {
		return nil, err
	}
	files := make(map[digest.Digest]string)
	for i, file := range e.Layers {
		m.Layers[i], err = l.describe(file, config.RootFS.DiffIDs[i])
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", file, err)
		}
		files[m.Layers[i].Digest] = file
	}
	var names []string
	for _, t := range e.RepoTags {
		ref, err := ParseReference(t)
		if err != nil {
			return nil, fmt.Errorf("manifest.json: %w", err)
		}
		ref.Digest = ""
		names = append(names, ref.String())
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return l.install(ctx, data, ispec.Descriptor{
		MediaType: m.MediaType,
		Digest:    digest.SHA256.FromBytes(data),
		Size:      int64(len(data)),
	}, raw, names, func(d digest.Digest) string { return files[d] })
}

// describe finds the digest of a layer file. An uncompressed one has its
// DiffID for a digest (placing it verifies that), another has to be read.
func (l *loader) describe(file string, diffID digest.Digest) (ispec.Descriptor, error) {
	r, size, err := l.a.open(file)
	if err != nil {
		return ispec.Descriptor{}, err
	}
	defer r.Close()
	magic := make([]byte, 6)
	n, err := io.ReadFull(r, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return ispec.Descriptor{}, err
	}
	d := ispec.Descriptor{MediaType: layerType(magic[:n]), Digest: diffID, Size: size}
	if d.MediaType == ispec.MediaTypeImageLayer {
		return d, nil
	}
	sum := digest.SHA256.Digester()
	sum.Hash().Write(magic[:n])
	if _, err := io.Copy(sum.Hash(), r); err != nil {
		return d, err
	}
	d.Digest = sum.Digest()
	return d, nil
}

func layerType(magic []byte) string {
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		return ispec.MediaTypeImageLayerGzip
	case len(magic) >= 4 && string(magic[:4]) == "\x28\xb5\x2f\xfd", isSkippable(magic):
		return ispec.MediaTypeImageLayerZstd
	}
	return ispec.MediaTypeImageLayer
}

func (l *loader) install(ctx context.Context, manifest []byte, desc ispec.Descriptor, config []byte, names []string, file func(digest.Digest) string) (*Image, error) {
	in := &install{s: l.s, lease: l.lease, rep: &l.rep, parallel: 2, names: names, manifest: manifest, desc: desc, config: config}
	return in.run(ctx, func(_ context.Context, layer *Layer) source {
		return memberSource{a: l.a, name: file(layer.Digest)}
	})
}

// memberSource reads a layer from an archive.
type memberSource struct {
	a    *archive
	name string
}

func (m memberSource) open(off int64) (io.ReadCloser, error) {
	r, _, err := m.a.open(m.name)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// isSkippable knows zstd's skippable frames, which may come first.
func isSkippable(magic []byte) bool {
	return len(magic) >= 4 && magic[0]&0xf0 == 0x50 && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18
}

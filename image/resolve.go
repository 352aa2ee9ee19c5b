package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is one image of the store, as it was when it was resolved.
type Image struct {
	ID          digest.Digest    // of the configuration
	Manifest    ispec.Descriptor // of the manifest of this platform
	Names       []string         // tags, in full form
	RepoDigests []string         // repository@digest it was pulled as
	Config      ispec.Image
	RawConfig   json.RawMessage // the configuration as it came: also what OCI leaves out, Healthcheck, OnBuild, Shell
	Layers      []Layer         // base first
	Size        int64           // of the blobs: layers as they came, configuration, manifest
	DiskSize    int64           // of the files in the unpacked layers; 0 where it was not noted: see Measure
	Created     time.Time       // zero when the image does not say
}

// A Layer is one layer of an image.
type Layer struct {
	Digest    digest.Digest // of the blob
	DiffID    digest.Digest // of the tar in it
	Size      int64         // of the blob
	MediaType string
	Dir       string // where it is unpacked; "" while it is not
}

// LowerDirs lists the layers' directories for overlayfs, top first, which is
// the order of lowerdir=. A layer that occurs twice is listed at its topmost
// place only: what it does lower down is done again there, and overlayfs
// refuses a directory twice (ELOOP, since Linux 5.2).
//
// overlayfs takes the attributes of the merged root from the upper directory:
// whoever makes that gives it those of Layers[0].Dir.
func (m *Image) LowerDirs() []string {
	dirs := make([]string, 0, len(m.Layers))
	seen := make(map[string]bool, len(m.Layers))
	for i := len(m.Layers) - 1; i >= 0; i-- {
		if dir := m.Layers[i].Dir; !seen[dir] {
			seen[dir] = true
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Ready reports whether every layer is unpacked.
func (m *Image) Ready() bool {
	for i := range m.Layers {
		if m.Layers[i].Dir == "" {
			return false
		}
	}
	return true
}

// Resolve finds an image by name (with or without tag or digest, short names
// below localhost/ too), by ID, or by a unique beginning of the ID of at least
// three digits. It takes no lock. The error wraps ErrNotExist, ErrAmbiguous or
// ErrBadReference.
//
// Where a layer is not unpacked, its Dir is empty; Store.Unpack mends that.
func (s *Store) Resolve(name string) (*Image, error) {
	data, err := s.readIndexFile()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	var x *index
	if ref, err := ParseReference(name); err == nil {
		x = quickIndex(data, ref.String())
	}
	if x == nil {
		if x, err = s.parseOwnIndex(data); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
	}
	e, err := s.find(x, name)
	if err != nil {
		return nil, err
	}
	m, err := s.load(x, e)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	return m, nil
}

// find looks a name up in the index.
func (s *Store) find(x *index, name string) (*ispec.Descriptor, error) {
	ref, refErr := ParseReference(name)
	if refErr == nil {
		if e := x.findRef(ref); e != nil {
			return e, nil
		}
		if short := localName(name); short != "" {
			if ref, err := ParseReference(short); err == nil {
				if e := x.findRef(ref); e != nil {
					return e, nil
				}
			}
		}
	}
	hex := strings.TrimPrefix(name, "sha256:")
	if isHex(hex) && len(hex) >= 3 && len(hex) <= 64 {
		return s.findID(x, name, hex)
	}
	if refErr != nil {
		return nil, refErr
	}
	return nil, fmt.Errorf("image %s: %w", name, ErrNotExist)
}

// localName is where a short name may be found too: images that were built or
// loaded here rather than pulled.
func localName(name string) string {
	if d, _ := splitDomain(name); d == defaultDomain && !strings.HasPrefix(name, defaultDomain+"/") {
		return "localhost/" + name
	}
	return ""
}

func (x *index) findRef(ref Reference) *ispec.Descriptor {
	if ref.Digest == "" {
		return x.byName(ref.String())
	}
	if e := x.byName(ref.Name() + "@" + ref.Digest.String()); e != nil {
		return e
	}
	// Known by tag only, but the digest is that of its manifest.
	for i := range x.entries {
		e := &x.entries[i]
		if e.Digest == ref.Digest && strings.HasPrefix(entryName(e), ref.Name()+":") {
			return e
		}
	}
	return nil
}

func (x *index) byName(name string) *ispec.Descriptor {
	for i := range x.entries {
		if entryName(&x.entries[i]) == name {
			return &x.entries[i]
		}
	}
	return nil
}

// findID looks for images whose ID, or else whose manifest digest, begins with
// hex.
func (s *Store) findID(x *index, name, hex string) (*ispec.Descriptor, error) {
	var byManifest *ispec.Descriptor
	var found *ispec.Descriptor
	for i := range x.entries {
		e := &x.entries[i]
		id, err := s.idOf(e)
		if err != nil {
			continue // a damaged image is in nobody's way
		}
		if e.Digest.Encoded() == hex {
			byManifest = e
		}
		if !strings.HasPrefix(id.Encoded(), hex) {
			continue
		}
		if found != nil {
			if other, _ := s.idOf(found); other != id {
				return nil, fmt.Errorf("image %s: %w: give more digits", name, ErrAmbiguous)
			}
			continue
		}
		found = e
	}
	if found == nil {
		found = byManifest
	}
	if found == nil {
		return nil, fmt.Errorf("image %s: %w", name, ErrNotExist)
	}
	return found, nil
}

// idOf is the ID of the image an entry is for.
func (s *Store) idOf(e *ispec.Descriptor) (digest.Digest, error) {
	if id := entryID(e); id != "" {
		return id, nil
	}
	data, err := s.readBlob(e.Digest, maxManifestSize)
	if err != nil {
		return "", err
	}
	m, err := parseManifest(data)
	if err != nil {
		return "", err
	}
	return m.Config.Digest, nil
}

// load reads the image of an index entry.
func (s *Store) load(x *index, e *ispec.Descriptor) (*Image, error) {
	if isIndexType(e.MediaType) {
		return nil, fmt.Errorf("multi-platform index in the store: %w", ErrUnsupported)
	}
	data, err := s.readBlob(e.Digest, maxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	raw, err := s.readBlob(m.Config.Digest, maxConfigSize)
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(raw, m)
	if err != nil {
		return nil, err
	}
	img := newImage(*e, m, config, raw)
	img.Size += int64(len(data))
	s.names(x, img)
	s.locate(img)
	return img, nil
}

func newImage(e ispec.Descriptor, m *ispec.Manifest, config *ispec.Image, raw []byte) *Image {
	size := entrySize(&e)
	e.Annotations = nil
	img := &Image{
		DiskSize:  size,
		ID:        m.Config.Digest,
		Manifest:  e,
		Config:    *config,
		RawConfig: raw,
		Layers:    make([]Layer, len(m.Layers)),
		Size:      int64(len(raw)),
	}
	if config.Created != nil {
		img.Created = *config.Created
	}
	for i, l := range m.Layers {
		img.Layers[i] = Layer{Digest: l.Digest, DiffID: config.RootFS.DiffIDs[i], Size: l.Size, MediaType: l.MediaType}
		img.Size += l.Size
	}
	return img
}

// names collects what an image is called.
func (s *Store) names(x *index, img *Image) {
	img.Names, img.RepoDigests = nil, nil
	for i := range x.entries {
		e := &x.entries[i]
		name := entryName(e)
		if name == "" {
			continue
		}
		if e.Digest != img.Manifest.Digest {
			if id, err := s.idOf(e); err != nil || id != img.ID {
				continue
			}
		}
		if strings.Contains(name, "@") {
			img.RepoDigests = append(img.RepoDigests, name)
		} else {
			img.Names = append(img.Names, name)
		}
	}
}

// locate fills in where the layers are.
func (s *Store) locate(img *Image) {
	var chain digest.Digest
	for i := range img.Layers {
		l := &img.Layers[i]
		chain = chainID(chain, l.DiffID)
		l.Dir = s.layerDir(l.DiffID, chain)
	}
}

func (s *Store) layerDir(diffID, chain digest.Digest) string {
	for _, dir := range []string{s.layerPath(diffID), s.chainPath(chain)} {
		if _, err := os.Lstat(dir); err == nil {
			return dir
		}
	}
	return ""
}

// chainID names a stack of layers (OCI image-spec, config.md).
func chainID(below, diffID digest.Digest) digest.Digest {
	if below == "" {
		return diffID
	}
	return digest.SHA256.FromString(below.String() + " " + diffID.String())
}

// List returns every image once, newest first. An image that cannot be read is
// left out and told of in the error; the others are valid then too.
func (s *Store) List() ([]*Image, error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return s.list(x)
}

func (s *Store) list(x *index) ([]*Image, error) {
	var errs []error
	seen := make(map[digest.Digest]bool)
	var imgs []*Image
	for i := range x.entries {
		e := &x.entries[i]
		if seen[entryID(e)] {
			continue
		}
		img, err := s.load(x, e)
		if err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", entryName(e), err))
			if id := entryID(e); id != "" {
				seen[id] = true // its other names have nothing to add
			}
			continue
		}
		if !seen[img.ID] {
			seen[img.ID] = true
			img.Measure()
			imgs = append(imgs, img)
		}
	}
	sortNewest(imgs)
	return imgs, errors.Join(errs...)
}

func sortNewest(imgs []*Image) {
	slices.SortStableFunc(imgs, func(a, b *Image) int { return b.Created.Compare(a.Created) })
}

// chain is the ChainID of layer i.
func (m *Image) chain(i int) digest.Digest {
	var c digest.Digest
	for j := 0; j <= i; j++ {
		c = chainID(c, m.Layers[j].DiffID)
	}
	return c
}

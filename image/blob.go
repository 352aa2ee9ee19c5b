package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds for what is read into memory. Registries have the same of 4 MiB for
// manifests.
const (
	maxManifestSize = 4 << 20
	maxConfigSize   = 8 << 20
)

// Docker's names for what OCI took over.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1Signd = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	dockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func isIndexType(t string) bool { return t == ispec.MediaTypeImageIndex || t == dockerManifestList }

func isManifestType(t string) bool { return t == ispec.MediaTypeImageManifest || t == dockerManifest }

// readBlob reads a small blob and verifies it. A blob that does not match its
// digest is as bad as a missing one, and says so.
func (s *Store) readBlob(d digest.Digest, limit int64) ([]byte, error) {
	if !isDigest(d.String()) {
		return nil, fmt.Errorf("blob %q: %w digest", d, ErrUnsupported)
	}
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("blob %s is missing from the store: pull the image again: %w", d, fs.ErrNotExist)
		}
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("blob %s: %d bytes where at most %d make sense", d, st.Size(), limit)
	}
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	if digest.SHA256.FromBytes(data) != d {
		return nil, fmt.Errorf("blob %s: %w: pull the image again", d, ErrCorrupt)
	}
	return data, nil
}

// putBlob stores a small blob whose digest has been verified; one that has
// rotted in the store is replaced. The caller's lease holds it.
func (s *Store) putBlob(d digest.Digest, data []byte) error {
	if have, err := s.readBlob(d, int64(len(data))); err == nil && len(have) == len(data) {
		return nil
	}
	return s.writeFile(s.blobPath(d), data)
}

func (s *Store) hasBlob(desc ispec.Descriptor) bool {
	st, err := os.Stat(s.blobPath(desc.Digest))
	return err == nil && (desc.Size <= 0 || st.Size() == desc.Size)
}

// parseManifest reads an OCI or Docker schema 2 manifest and checks what the
// rest of the package relies on.
func parseManifest(data []byte) (*ispec.Manifest, error) {
	var m ispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.MediaType != "" && !isManifestType(m.MediaType) {
		return nil, fmt.Errorf("manifest of type %q: %w", m.MediaType, ErrUnsupported)
	}
	if !isDigest(m.Config.Digest.String()) {
		return nil, fmt.Errorf("manifest: configuration digest %q: %w", m.Config.Digest, ErrNotImage)
	}
	switch m.Config.MediaType {
	case ispec.MediaTypeImageConfig, dockerConfig, "":
	default:
		return nil, fmt.Errorf("configuration of type %q: %w", m.Config.MediaType, ErrNotImage)
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		if !isDigest(l.Digest.String()) {
			return nil, fmt.Errorf("manifest: layer digest %q: %w", l.Digest, ErrUnsupported)
		}
		if l.Size < 0 {
			return nil, fmt.Errorf("manifest: layer %s of %d bytes", l.Digest, l.Size)
		}
	}
	return &m, nil
}

// maxLayers is what overlayfs stacks (OVL_MAX_STACK).
const maxLayers = 500

// parseConfig reads an image configuration that belongs to manifest m.
func parseConfig(data []byte, m *ispec.Manifest) (*ispec.Image, error) {
	var c ispec.Image
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if n := len(c.RootFS.DiffIDs); n != len(m.Layers) {
		return nil, fmt.Errorf("%d layers, the configuration tells of %d: %w", len(m.Layers), n, ErrNotImage)
	}
	if len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("%d layers, overlayfs takes %d: %w", len(m.Layers), maxLayers, ErrUnsupported)
	}
	for _, d := range c.RootFS.DiffIDs {
		if !isDigest(d.String()) {
			return nil, fmt.Errorf("configuration: DiffID %q: %w", d, ErrUnsupported)
		}
	}
	return &c, nil
}

// manifestType decides what data is. The document's own word counts, then the
// registry's; a document that could be read as manifest and as index alike is
// refused, since its digest would then stand for two things.
func manifestType(data []byte, contentType string) (string, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
		Config        json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	t := doc.MediaType
	if t == "" {
		t = strings.TrimSpace(contentType)
	}
	isIndex, isManifest := doc.Manifests != nil, doc.Layers != nil || doc.Config != nil
	switch {
	case isIndex && isManifest:
		return "", fmt.Errorf("manifest that is an index too: %w", ErrUnsupported)
	case doc.FSLayers != nil || t == dockerSchema1 || t == dockerSchema1Signd || doc.SchemaVersion == 1:
		return "", fmt.Errorf("image manifest of Docker schema 1: %w: push the image again with a current tool", ErrUnsupported)
	case isIndexType(t) && !isManifest, isManifestType(t) && !isIndex:
		return t, nil
	case isIndex && !isManifestType(t):
		return ispec.MediaTypeImageIndex, nil
	case isManifest && !isIndexType(t):
		return ispec.MediaTypeImageManifest, nil
	}
	return "", fmt.Errorf("manifest of type %q: %w", t, ErrUnsupported)
}

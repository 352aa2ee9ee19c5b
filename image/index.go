package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strconv"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// annotationID saves reading a manifest to learn the ID of its image. A
	// layout that another tool wrote lacks it.
	annotationID = "io.github.berthrun.image.id"
	// annotationSize saves walking the unpacked layers; likewise.
	annotationSize = "io.github.berthrun.image.size"

	maxIndexSize = 64 << 20
)

// index is index.json. An image has one entry for each of its names (tags and
// repository digests), or one without a name.
type index struct {
	entries []ispec.Descriptor
}

func entryName(e *ispec.Descriptor) string { return e.Annotations[ispec.AnnotationRefName] }

func entryID(e *ispec.Descriptor) digest.Digest { return digest.Digest(e.Annotations[annotationID]) }

// entrySize is how much disk the image takes unpacked; 0 where that is not noted.
func entrySize(e *ispec.Descriptor) int64 {
	n, err := strconv.ParseInt(e.Annotations[annotationSize], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func newEntry(manifest ispec.Descriptor, id digest.Digest, size int64, name string) ispec.Descriptor {
	e := ispec.Descriptor{
		MediaType:   manifest.MediaType,
		Digest:      manifest.Digest,
		Size:        manifest.Size,
		Platform:    manifest.Platform,
		Annotations: map[string]string{annotationID: id.String()},
	}
	if size > 0 {
		e.Annotations[annotationSize] = strconv.FormatInt(size, 10)
	}
	if name != "" {
		e.Annotations[ispec.AnnotationRefName] = name
	}
	return e
}

func parseIndex(data []byte) (*index, error) {
	var oci ispec.Index
	if err := json.Unmarshal(data, &oci); err != nil {
		return nil, err
	}
	for i := range oci.Manifests {
		e := &oci.Manifests[i]
		if !isDigest(e.Digest.String()) {
			return nil, fmt.Errorf("entry %d: malformed digest %q", i, e.Digest)
		}
		if id := entryID(e); id != "" && !isDigest(id.String()) {
			return nil, fmt.Errorf("entry %d: malformed image ID %q", i, id)
		}
	}
	return &index{entries: oci.Manifests}, nil
}

// marshal writes one entry a line, for people and for findLine.
func (x *index) marshal() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, ispec.MediaTypeImageIndex)
	for i := range x.entries {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		line, err := json.Marshal(&x.entries[i])
		if err != nil {
			return nil, err
		}
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

func (s *Store) readIndexFile() ([]byte, error) {
	data, err := os.ReadFile(s.root + "/index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return []byte("{}"), nil
	}
	return data, err
}

func (s *Store) readIndex() (*index, error) {
	data, err := s.readIndexFile()
	if err != nil {
		return nil, err
	}
	if len(data) > maxIndexSize {
		return nil, fmt.Errorf("%s: %d bytes", s.path("index.json"), len(data))
	}
	return s.parseOwnIndex(data)
}

func (s *Store) parseOwnIndex(data []byte) (*index, error) {
	x, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path("index.json"), err)
	}
	return x, nil
}

func (s *Store) writeIndex(x *index) error {
	data, err := x.marshal()
	if err != nil {
		return err
	}
	return s.writeFile(s.path("index.json"), data)
}

// updateIndex changes index.json. fn may look at the store and must be quick.
func (s *Store) updateIndex(fn func(x *index) error) error {
	unlock, err := s.lockExclusive()
	if err != nil {
		return err
	}
	defer unlock()
	x, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := fn(x); err != nil {
		return err
	}
	return s.writeIndex(x)
}

// set points the entry's name at its manifest. An image that loses its last
// name by that stays, without a name, until it is removed.
func (x *index) set(e ispec.Descriptor) {
	name := entryName(&e)
	for i := range x.entries {
		old := x.entries[i]
		if entryName(&old) != name || name == "" && old.Digest != e.Digest {
			continue
		}
		x.entries[i] = e
		if old.Digest != e.Digest && !x.has(old.Digest) {
			x.entries = append(x.entries, newEntry(old, entryID(&old), entrySize(&old), ""))
		}
		x.dropAnonymous()
		return
	}
	x.entries = append(x.entries, e)
	x.dropAnonymous()
}

func (x *index) has(manifest digest.Digest) bool {
	for i := range x.entries {
		if x.entries[i].Digest == manifest {
			return true
		}
	}
	return false
}

// dropAnonymous removes entries without a name whose manifest has one.
func (x *index) dropAnonymous() {
	named := make(map[digest.Digest]bool)
	for i := range x.entries {
		if entryName(&x.entries[i]) != "" {
			named[x.entries[i].Digest] = true
		}
	}
	kept := x.entries[:0]
	for _, e := range x.entries {
		if entryName(&e) == "" {
			if named[e.Digest] {
				continue
			}
			named[e.Digest] = true
		}
		kept = append(kept, e)
	}
	x.entries = kept
}

// quickIndex reads only the lines of index.json about the image called name,
// so that a start does not pay for every image there is. It returns nil where
// it cannot tell: another tool wrote the file, or there is no such name.
func quickIndex(data []byte, name string) *index {
	id := digest.Digest("")
	for line := range linesWith(data, `"`+name+`"`) {
		if e, ok := parseLine(line); ok && entryName(&e) == name {
			id = entryID(&e)
			break
		}
	}
	if id == "" {
		return nil
	}
	x := &index{}
	for line := range linesWith(data, `"`+id.String()+`"`) {
		e, ok := parseLine(line)
		if !ok {
			return nil
		}
		x.entries = append(x.entries, e)
	}
	return x
}

func parseLine(line []byte) (e ispec.Descriptor, ok bool) {
	if err := json.Unmarshal(bytes.TrimSuffix(line, []byte(",")), &e); err != nil {
		return e, false
	}
	return e, isDigest(e.Digest.String()) && isDigest(entryID(&e).String())
}

// linesWith yields the lines that contain needle.
func linesWith(data []byte, needle string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			i := bytes.Index(data, []byte(needle))
			if i < 0 {
				return
			}
			start := bytes.LastIndexByte(data[:i], '\n') + 1
			end := bytes.IndexByte(data[i:], '\n')
			if end < 0 {
				return
			}
			if !yield(data[start : i+end]) {
				return
			}
			data = data[i+end:]
		}
	}
}

package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// RemoveOptions say what may be removed.
type RemoveOptions struct {
	// Force removes an image by ID although it has several names.
	Force bool
	// InUse names the containers that use an image. It is asked before and
	// again after the image has lost its names: who writes down that it uses
	// the image, and resolves it after that, is sure to keep it.
	InUse func(id digest.Digest) ([]string, error)
}

// Removed is one line of what Remove did: a name that is gone, or an image.
type Removed struct {
	Untagged string        `json:",omitempty"`
	Deleted  digest.Digest `json:",omitempty"`
}

// Tag gives an image another name. A name that another image had moves.
func (s *Store) Tag(src, dst string) error {
	ref, err := ParseReference(dst)
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return fmt.Errorf("%w %q: a digest cannot be given as a name", ErrBadReference, dst)
	}
	return s.updateIndex(func(x *index) error {
		e, err := s.find(x, src)
		if err != nil {
			return err
		}
		id, err := s.idOf(e)
		if err != nil {
			return fmt.Errorf("tag image %s: %w", src, err)
		}
		x.set(newEntry(*e, id, entrySize(e), ref.String()))
		return nil
	})
}

// Remove takes a name from an image, and with the last one the image itself.
// Named by ID, the image goes with all its names; if it has several, that
// takes Force. Blobs and layers that nothing needs any more are deleted.
func (s *Store) Remove(ctx context.Context, name string, opts *RemoveOptions) ([]Removed, error) {
	if opts == nil {
		opts = &RemoveOptions{}
	}
	unlock, err := s.lockExclusive()
	if err != nil {
		return nil, fmt.Errorf("remove image %s: %w", name, err)
	}
	removed, trash, err := s.removeLocked(name, opts)
	unlock()
	s.empty(ctx, trash)
	return removed, err
}

func (s *Store) removeLocked(name string, opts *RemoveOptions) (removed []Removed, trash []string, err error) {
	x, err := s.readIndex()
	if err != nil {
		return nil, nil, fmt.Errorf("remove image %s: %w", name, err)
	}
	found, err := s.find(x, name)
	if err != nil {
		return nil, nil, err
	}
	e := *found // the entries are about to move
	id, err := s.idOf(&e)
	if err != nil {
		id = "" // damaged: it goes by its manifest
	}
	tags, others := s.entriesOf(x, e.Digest, id)
	byName := nameMatches(name, entryName(&e))
	if byName && len(slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return t == entryName(&e) })) > 0 {
		// Other names keep the image.
		x.drop([]string{entryName(&e)})
		if err := s.writeIndex(x); err != nil {
			return nil, nil, err
		}
		return []Removed{{Untagged: entryName(&e)}}, nil, nil
	}
	if !byName && len(tags) > 1 && !opts.Force {
		return nil, nil, fmt.Errorf("remove image %s: it has the names %s: remove them one by one, or use force", name, strings.Join(tags, ", "))
	}
	before := &index{entries: slices.Clone(x.entries)}
	if err := checkUse(name, id, opts); err != nil {
		return nil, nil, err
	}
	x.dropImage(e.Digest, id, s)
	if err := s.writeIndex(x); err != nil {
		return nil, nil, err
	}
	if err := checkUse(name, id, opts); err != nil {
		if werr := s.writeIndex(before); werr != nil {
			return nil, nil, fmt.Errorf("%w; and its names are lost: %v", err, werr)
		}
		return nil, nil, err
	}
	for _, n := range append(tags, others...) {
		removed = append(removed, Removed{Untagged: n})
	}
	if id != "" {
		removed = append(removed, Removed{Deleted: id})
	} else {
		removed = append(removed, Removed{Deleted: e.Digest})
	}
	trash, err = s.collectLocked(x, false)
	return removed, trash, err
}

// nameMatches tells a hit by name from one by ID.
func nameMatches(name, entry string) bool {
	if entry == "" {
		return false
	}
	for _, n := range []string{name, localName(name)} {
		if ref, err := ParseReference(n); err == nil {
			if ref.String() == entry || ref.Digest != "" {
				return true
			}
		}
	}
	return false
}

func checkUse(name string, id digest.Digest, opts *RemoveOptions) error {
	if opts.InUse == nil || id == "" {
		return nil
	}
	users, err := opts.InUse(id)
	if err != nil {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	if len(users) > 0 {
		return fmt.Errorf("remove image %s: %w by container %s: remove that first", name, ErrInUse, strings.Join(users, ", "))
	}
	return nil
}

// entriesOf lists the tags and the digest names of an image.
func (s *Store) entriesOf(x *index, manifest, id digest.Digest) (tags, others []string) {
	for i := range x.entries {
		e := &x.entries[i]
		if !s.isImage(e, manifest, id) || entryName(e) == "" {
			continue
		}
		if strings.Contains(entryName(e), "@") {
			others = append(others, entryName(e))
		} else {
			tags = append(tags, entryName(e))
		}
	}
	return tags, others
}

func (s *Store) isImage(e *ispec.Descriptor, manifest, id digest.Digest) bool {
	if e.Digest == manifest {
		return true
	}
	if id == "" {
		return false
	}
	other, err := s.idOf(e)
	return err == nil && other == id
}

func (x *index) drop(names []string) {
	x.entries = slices.DeleteFunc(x.entries, func(e ispec.Descriptor) bool {
		return slices.Contains(names, entryName(&e))
	})
}

func (x *index) dropImage(manifest, id digest.Digest, s *Store) {
	x.entries = slices.DeleteFunc(x.entries, func(e ispec.Descriptor) bool { return s.isImage(&e, manifest, id) })
}

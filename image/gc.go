package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// partAge is how long a part of a blob waits for the pull that completes it.
const partAge = 24 * time.Hour

// Collect deletes blobs and layers that no image needs and no operation under
// way has claimed, and what killed operations left in tmp/.
func (s *Store) Collect(ctx context.Context) error {
	unlock, err := s.lockExclusive()
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	x, err := s.readIndex()
	var trash []string
	if err == nil {
		trash, err = s.collectLocked(x, true)
	}
	unlock()
	s.empty(ctx, trash)
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return nil
}

// collectLocked deletes what is not live. Layers, which may be large, are only
// renamed into tmp/; the returned names are for empty, without the lock.
func (s *Store) collectLocked(x *index, parts bool) (trash []string, err error) {
	live, err := s.live(x)
	if err != nil {
		return nil, err
	}
	trash = s.sweep(live, parts)
	blobs, err := os.ReadDir(s.path("blobs/sha256"))
	if err != nil {
		return trash, err
	}
	for _, b := range blobs {
		if !live[b.Name()] {
			if err := os.Remove(s.path("blobs/sha256", b.Name())); err != nil {
				return trash, err
			}
		}
	}
	layers, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return trash, err
	}
	for _, l := range layers {
		if live[strings.TrimPrefix(l.Name(), "chain-")] {
			continue
		}
		to := s.path("tmp", "trash-"+l.Name())
		if err := os.Rename(s.path("layers", l.Name()), to); err != nil {
			return trash, err
		}
		trash = append(trash, to)
	}
	return trash, nil
}

// live is the set of digests, in hex, of everything that images need or leases
// claim. An image that cannot be read is an error: what it needs is not known.
func (s *Store) live(x *index) (map[string]bool, error) {
	live := make(map[string]bool)
	for i := range x.entries {
		e := &x.entries[i]
		if live[e.Digest.Encoded()] {
			continue
		}
		if err := s.mark(live, e.Digest, e.MediaType, 0); err != nil {
			return nil, fmt.Errorf("image %s: %w", entryName(e), err)
		}
	}
	leases, err := filepath.Glob(s.path("tmp", "lease-*"))
	if err != nil {
		return nil, err
	}
	for _, file := range leases {
		if dead(file) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for hex := range strings.SplitSeq(string(data), "\n") {
			live[hex] = true
		}
	}
	return live, nil
}

// mark adds what a manifest or index needs.
func (s *Store) mark(live map[string]bool, d digest.Digest, mediaType string, depth int) error {
	data, err := s.readBlob(d, maxManifestSize)
	if err != nil {
		return err
	}
	live[d.Encoded()] = true
	if isIndexType(mediaType) {
		var idx ispec.Index
		if err := json.Unmarshal(data, &idx); err != nil {
			return err
		}
		for _, m := range idx.Manifests {
			// A layout by another tool may have some platforms only.
			if s.hasBlob(m) && depth < 4 {
				if err := s.mark(live, m.Digest, m.MediaType, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	m, err := parseManifest(data)
	if err != nil {
		return err
	}
	live[m.Config.Digest.Encoded()] = true
	for _, l := range m.Layers {
		live[l.Digest.Encoded()] = true
	}
	raw, err := s.readBlob(m.Config.Digest, maxConfigSize)
	if err != nil {
		return err
	}
	config, err := parseConfig(raw, m)
	if err != nil {
		return err
	}
	var chain digest.Digest
	for _, diffID := range config.RootFS.DiffIDs {
		chain = chainID(chain, diffID)
		live[diffID.Encoded()] = true
		live[chain.Encoded()] = true
	}
	return nil
}

// sweep removes what dead operations left in tmp/, and returns the trees among
// it. Parts are worth keeping for a while.
func (s *Store) sweep(live map[string]bool, parts bool) (trash []string) {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		path := s.path("tmp", e.Name())
		if hex, ok := strings.CutSuffix(e.Name(), ".part"); ok {
			fi, err := e.Info()
			if err != nil || live[hex] || !parts && time.Since(fi.ModTime()) < partAge {
				continue
			}
		}
		if !dead(path) {
			continue
		}
		if e.IsDir() {
			trash = append(trash, path)
		} else {
			os.Remove(path)
		}
	}
	return trash
}

// tidy sweeps tmp/ if that can be done without waiting for anyone.
func (s *Store) tidy(ctx context.Context) {
	unlock, err := s.tryExclusive()
	if err != nil {
		return
	}
	trash := s.sweep(nil, false)
	unlock()
	s.empty(ctx, trash)
}

// empty deletes trees. What is left when it is cut short, the next sweep takes.
func (s *Store) empty(ctx context.Context, trash []string) {
	for _, dir := range trash {
		if ctx.Err() != nil {
			return
		}
		removeAll(dir)
	}
}

// removeAll deletes a tree, also one with directories closed to their owner,
// as they are in many a layer unpacked without privilege.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700) //nolint:errcheck // RemoveAll tells
		}
		return nil
	})
	return os.RemoveAll(path)
}

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Options of a store. The zero value is for root.
type Options struct {
	// Rootless unpacks without chown and device nodes, and uses overlayfs'
	// user.* attributes.
	Rootless bool
}

// A Store is an image store on disk. It holds no open files and no state: any
// number of stores, in any number of processes, may work on one directory.
type Store struct {
	root string
	opts Options
}

const layoutFile = `{"imageLayoutVersion":"1.0.0"}` + "\n"

// Open opens the store below root and makes what is missing of it.
func Open(root string, opts *Options) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	s := &Store{root: root}
	if opts != nil {
		s.opts = *opts
	}
	if _, err := os.Stat(s.path("oci-layout")); errors.Is(err, fs.ErrNotExist) {
		err = s.create()
		if err != nil {
			return nil, fmt.Errorf("create image store: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

// create makes an empty store. Only root looks inside: a layer holds set-id
// files and device nodes that are meant for containers.
func (s *Store) create() error {
	for _, dir := range []string{"", "blobs/sha256", "layers", "tmp"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	unlock, err := s.lockExclusive()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(s.path("index.json")); errors.Is(err, fs.ErrNotExist) {
		if err := s.writeIndex(&index{}); err != nil {
			return err
		}
	}
	return s.writeFile(s.path("oci-layout"), []byte(layoutFile))
}

// Root is the directory of the store.
func (s *Store) Root() string { return s.root }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

func (s *Store) blobPath(d digest.Digest) string {
	return s.root + "/blobs/sha256/" + d.Encoded()
}

// partPath is where the download of a blob goes on.
func (s *Store) partPath(d digest.Digest) string {
	return s.root + "/tmp/" + d.Encoded() + ".part"
}

// layerPath is where a self-contained layer is; chainPath where one is that
// was finished for the layers below it.
func (s *Store) layerPath(diffID digest.Digest) string {
	return s.root + "/layers/" + diffID.Encoded()
}

func (s *Store) chainPath(chainID digest.Digest) string {
	return s.root + "/layers/chain-" + chainID.Encoded()
}

// writeFile replaces a file in one step, durably: the name means either the
// old content or the new, also after a power cut.
func (s *Store) writeFile(path string, data []byte) error {
	f, err := s.tempFile("file")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return s.diskError(err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

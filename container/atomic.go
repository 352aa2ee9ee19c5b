package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// WriteFile replaces path by data in one step: a reader sees the old file or
// the new one, whole. Durable, the new one survives a power cut once it returns.
func WriteFile(path string, data []byte, perm fs.FileMode, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil && durable {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil && durable {
		err = fsync(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func fsync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// fsyncAll has the disk keep several files and directories. At the same time:
// a file system with a journal then writes that once, not once for each.
func fsyncAll(paths ...string) error {
	errs := make([]error, len(paths))
	var group sync.WaitGroup
	for i, path := range paths {
		group.Go(func() { errs[i] = fsync(path) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// fsyncDir is fsyncAll of a directory and the files in it.
func fsyncDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	paths := []string{dir}
	for _, e := range entries {
		if e.Type().IsRegular() || e.IsDir() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return fsyncAll(paths...)
}

func writeJSON(path string, v any, durable bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, data, 0o600, durable)
}

// readJSON returns nil and no error where the file is absent.
func readJSON[T any](path string) (*T, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("read %s: it %w: %w", path, ErrDamaged, err)
	}
	return v, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rootDisk is the file system image of a tree, made when it is missing: sparse, so its size costs nothing.
func rootDisk(ctx context.Context, tree, size string) (string, error) {
	image := tree + "." + size + ".img"
	return image, makeDisk(ctx, tree, image, size)
}

// layerDisk is the file system image of a layer. That of a layer in the cache is kept beside it, for those are never
// changed; any other is made for this VM.
func (m *machine) layerDisk(ctx context.Context, i int, layer string) (string, error) {
	size, err := diskSize(layer)
	if err != nil {
		return "", err
	}
	if filepath.Dir(layer) == filepath.Clean(cacheDir()) {
		image := layer + ".img"
		return image, makeDisk(ctx, layer, image, size)
	}
	image := m.dir(fmt.Sprintf("layer%d.img", i))
	return image, makeDisk(ctx, layer, image, size)
}

// diskSize leaves room for what ext4 itself needs. A file with several names counts once.
func diskSize(dir string) (string, error) {
	seen := map[uint64]bool{}
	var kb int64 = 16 << 10
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if !seen[st.Ino] {
			seen[st.Ino] = true
			kb += st.Size/1024 + 5
		}
		return nil
	})
	return fmt.Sprintf("%dk", kb+kb/10), err
}

// makeDisk copies a tree into a new file system without mounting it, unless image is there.
func makeDisk(ctx context.Context, tree, image, size string) error {
	lock, err := os.OpenFile(image+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(image); err == nil {
		return nil
	}
	tmp := image + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// No journal and no reserve: the disk is thrown away, or never written.
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0",
		"-E", "lazy_itable_init=1,nodiscard", "-d", tree, tmp, size)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/sbin:/usr/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make disk of %s: %s: %w", tree, strings.TrimSpace(string(out)), err)
	}
	return os.Rename(tmp, image)
}

// kernel finds what a tree boots with.
func kernel(tree string) (vmlinuz, initrd string, err error) {
	for pattern, found := range map[string]*string{"vmlinuz-*": &vmlinuz, "initrd.img-*": &initrd} {
		files, err := filepath.Glob(filepath.Join(tree, "boot", pattern))
		if err != nil {
			return "", "", err
		}
		if len(files) == 0 {
			return "", "", fmt.Errorf("%s has no boot/%s: not a tree for a VM", tree, pattern)
		}
		*found = files[len(files)-1]
	}
	return vmlinuz, initrd, nil
}

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// epoch is the time of everything in an image.
var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// entry is one file of a layer that does not come from a tree.
type entry struct {
	name   string // without a leading slash
	mode   fs.FileMode
	data   []byte
	link   string // target of a symbolic link
	hard   string // target of a hard link
	uid    int
	gid    int
	xattrs map[string]string
}

func dir(name string, mode fs.FileMode) entry { return entry{name: name + "/", mode: mode} }
func file(name, data string) entry            { return entry{name: name, mode: 0o644, data: []byte(data)} }
func script(name, data string) entry          { return entry{name: name, mode: 0o755, data: []byte(data)} }
func symlink(name, target string) entry       { return entry{name: name, mode: 0o777, link: target} }

// tarEntries writes a layer of entries, in their order.
func tarEntries(entries []entry) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.name, Mode: int64(e.mode), Uid: e.uid, Gid: e.gid, ModTime: epoch, Format: tar.FormatPAX,
			Typeflag: tar.TypeReg, Size: int64(len(e.data)),
		}
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.hard
		}
		for k, v := range e.xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// leftOut is what the tools that unpack packages leave behind, and what a container gets from its engine.
var leftOut = []string{
	"dev/*", "run/*", "tmp/*", "boot", "etc/hostname", "etc/resolv.conf", "etc/hosts", "etc/fstab", "etc/dpkg", "etc/init.d",
	"etc/logrotate.d", "etc/ufw", "etc/default", "usr/share/initramfs-tools", "usr/share/bug", "usr/lib/systemd",
	"var/lib/dpkg", "var/cache/*", "var/log/*", "etc/update-motd.d", "usr/share/perl5", "usr/share/mime",
}

// tarTree writes a directory tree without what matches a pattern, sorted, with fixed times.
func tarTree(root string, without []string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	first := map[uint64]string{} // inode → first name, for hard links
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, pattern := range without {
			if ok, _ := filepath.Match(pattern, name); ok {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
		}
		return tarFile(w, path, name, first)
	})
	if err != nil {
		return nil, err
	}
	return buf.Bytes(), w.Close()
}

func tarFile(w *tar.Writer, path, name string, first map[uint64]string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	var target string
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatPAX
	h.ModTime, h.AccessTime, h.ChangeTime = epoch, time.Time{}, time.Time{}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	switch {
	case info.IsDir():
		h.Name += "/"
	case info.Mode().IsRegular() && st.Nlink > 1 && first[st.Ino] != "":
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first[st.Ino], 0
	case info.Mode().IsRegular():
		first[st.Ino] = name
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// layer compresses a tar.
func layer(data []byte, zstd, docker bool) (v1.Layer, error) {
	opts := []tarball.LayerOption{tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching}
	switch {
	case zstd:
		opts = []tarball.LayerOption{tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd), tarball.WithCompressedCaching}
	case docker:
		opts[0] = tarball.WithMediaType(types.DockerLayer)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, opts...)
}

// bulk makes files of size bytes in all below dir, with sizes as in real trees: many small ones, and few that carry most
// of the weight. Half of them is text, which compresses, the other half is noise, which does not.
func bulk(name string, seed byte, size int) []entry {
	src := rand.NewChaCha8([32]byte{seed})
	rnd := rand.New(src)
	words := make([][]byte, 1024)
	for i := range words {
		words[i] = make([]byte, 2+rnd.IntN(9))
		for j := range words[i] {
			words[i][j] = byte('a' + rnd.IntN(26))
		}
	}
	entries := []entry{dir(name, 0o755)}
	for i := 0; size > 0; i++ {
		if i%64 == 0 {
			entries = append(entries, dir(filepath.Join(name, number(i/64)), 0o755))
		}
		n, text := 1<<10+rnd.IntN(63<<10), i%2 == 0
		if i%16 == 15 {
			n, text = 1<<20+rnd.IntN(3<<20), i%32 == 15
		}
		n = min(n, size)
		size -= n
		data := make([]byte, n)
		if text {
			for j := 0; j < n; {
				j += copy(data[j:], words[rnd.IntN(len(words))])
				j += copy(data[j:], " ")
			}
		} else {
			src.Read(data)
		}
		entries = append(entries, entry{name: filepath.Join(name, number(i/64), number(i)), mode: 0o644, data: data})
	}
	return entries
}

func number(n int) string { return fmt.Sprintf("%05d", n) }

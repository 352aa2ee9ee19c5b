package image

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// Measure finds out DiskSize where it was not noted: the sum of the sizes of
// all files in the unpacked layers, as Docker counts. A file with several links
// counts once, a layer that images share with each of them, one that is not
// unpacked by its blob.
func (m *Image) Measure() {
	if m.DiskSize == 0 {
		m.DiskSize = m.measure()
	}
}

func (m *Image) measure() int64 {
	var sum int64
	for i := range m.Layers {
		l := &m.Layers[i]
		if l.Dir == "" {
			sum += l.Size
			continue
		}
		sum += treeSize(l.Dir)
	}
	return sum
}

// treeSize passes over what it cannot read: a layer that is being removed.
func treeSize(dir string) int64 {
	var sum int64
	linked := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			if linked[st.Ino] {
				return nil
			}
			linked[st.Ino] = true
		}
		sum += info.Size()
		return nil
	})
	return sum
}

package runtime

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// labelAttr is where a file's SELinux label is kept.
const labelAttr = "security.selinux"

// selinuxEnabled says whether the kernel enforces SELinux labels, or would.
func selinuxEnabled() bool { return isFS("/sys/fs/selinux", unix.SELINUX_MAGIC) }

// needSELinux refuses a label that nothing would come of.
func needSELinux(field string) error {
	if !selinuxEnabled() {
		return &UnsupportedError{Feature: field, Needs: "SELinux"}
	}
	return nil
}

// labelMounts gives the file systems that are the container's alone its label.
func labelMounts(list []mount, label string) {
	for i := range list {
		m := &list[i]
		if !m.opt.bind && !m.opt.remount && !sharedSuper[m.kind] && !m.says("context") {
			m.opt.data = append(m.opt.data, "context="+label)
		}
	}
}

// labelFile sets a file's label where the container's mounts have one.
func (l *launch) labelFile(path string) error {
	label := l.spec.Linux.MountLabel
	if label == "" {
		return nil
	}
	if err := unix.Setxattr(path, labelAttr, []byte(label), 0); err != nil {
		return fmt.Errorf("set label: %w", err)
	}
	return nil
}

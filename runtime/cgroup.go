package runtime

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is the container's leaf in the cgroup v2 tree, by its path in the file system.
type cgroup struct{ dir string }

// cgroupMount finds where the v2 tree is mounted, "" where it is not.
func cgroupMount() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if isFS(dir, unix.CGROUP2_SUPER_MAGIC) {
			return dir
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		f := strings.Fields(left)
		if ok && len(f) > 4 && strings.HasPrefix(right, "cgroup2 ") {
			return f[4]
		}
	}
	return ""
}

func isFS(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == magic
}

// ownCgroup is the cgroup v2 path of this process.
func ownCgroup() (string, error) { return cgroupOf("self") }

// cgroupOf is the cgroup v2 path of a process, as this one's cgroup namespace shows it.
func cgroupOf(pid string) (string, error) {
	b, err := readFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("read cgroup of %s: %w", pid, err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return p, nil
		}
	}
	return "", &UnsupportedError{Feature: "cgroup", Needs: "cgroup v2"}
}

// CgroupOf is the directory of the cgroup that a process is in.
func CgroupOf(pid int) (string, error) {
	path, err := cgroupOf(strconv.Itoa(pid))
	if err != nil {
		return "", err
	}
	return filepath.Join(cgroupMount(), path), nil
}

// cgroupFor resolves linux.cgroupsPath: absolute is below the mount of the v2
// tree, relative (or the container's ID, if it says nothing) is beside the
// runtime's own cgroup.
func cgroupFor(path, id string) (cgroup, error) {
	mount := cgroupMount()
	if mount == "" {
		if path == "" {
			return cgroup{}, nil
		}
		return cgroup{}, &UnsupportedError{Feature: "cgroup " + path, Needs: "cgroup v2"}
	}
	if strings.HasPrefix(path, "/") {
		return cgroup{filepath.Join(mount, path)}, nil
	}
	if path == "" {
		path = id
	}
	own, err := ownCgroup()
	if err != nil {
		return cgroup{}, err
	}
	// Joined below the root, so that no ".." leads out of the tree.
	return cgroup{filepath.Join(mount, filepath.Join("/", filepath.Dir(own), filepath.Join("/", path)))}, nil
}

// create makes the leaf, and says whether it did. It fails where somebody is
// in it already.
func (c cgroup) create() (made bool, err error) {
	if c.dir == "" {
		return false, nil
	}
	err = unix.Mkdir(c.dir, 0o755)
	if err == unix.ENOENT {
		err = os.MkdirAll(c.dir, 0o755)
	}
	if err == unix.EEXIST {
		if procs, err := readFile(filepath.Join(c.dir, "cgroup.procs")); err != nil || len(procs) > 0 {
			return false, fmt.Errorf("create cgroup %s: container's cgroup is not empty", c.dir)
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create cgroup %s: %w", c.dir, err)
	}
	return true, nil
}

// enable gives the cgroup every controller that there is, by enabling it in
// each cgroup above. Where that is refused, which is so where a cgroup above
// has processes of its own, the cgroup goes without: what is asked of such a
// controller fails then, by name.
func (c cgroup) enable() {
	mount := cgroupMount()
	all, err := readFile(mount + "/cgroup.controllers")
	if err != nil || len(bytes.TrimSpace(all)) == 0 {
		return // on cgroup v1, or there are none
	}
	if have, err := readFile(c.dir + "/cgroup.controllers"); err == nil && bytes.Equal(have, all) {
		return
	}
	names := strings.Fields(string(all))
	below, ok := strings.CutPrefix(c.dir, mount+"/")
	if !ok {
		return
	}
	for at := (cgroup{mount}); ; {
		at.enableBelow(names)
		next, rest, more := strings.Cut(below, "/")
		if !more {
			return
		}
		at.dir, below = at.dir+"/"+next, rest
	}
}

// enableBelow enables those of the controllers for the cgroup's children that
// can be.
func (c cgroup) enableBelow(controllers []string) {
	const file = "cgroup.subtree_control"
	b, err := readFile(c.dir + "/" + file)
	if err != nil {
		return
	}
	have := strings.Fields(string(b))
	var missing []string
	for _, name := range controllers {
		if !slices.Contains(have, name) {
			missing = append(missing, "+"+name)
		}
	}
	if len(missing) == 0 || c.write(file, strings.Join(missing, " ")) == nil {
		return
	}
	for _, name := range missing {
		c.write(file, name) //nolint:errcheck // see enable
	}
}

// open opens the directory, for CLONE_INTO_CGROUP.
func (c cgroup) open() (int, error) {
	fd, err := unix.Open(c.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open cgroup %s: %w", c.dir, err)
	}
	return fd, nil
}

// write writes a control file.
func (c cgroup) write(file, value string) error {
	fd, err := unix.Open(filepath.Join(c.dir, file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}

// frozen says whether the leaf is frozen.
func (c cgroup) frozen() bool {
	if c.dir == "" {
		return false
	}
	b, err := readFile(filepath.Join(c.dir, "cgroup.freeze"))
	return err == nil && bytes.HasPrefix(b, []byte("1"))
}

// signal sends a signal to every process in the leaf and below.
func (c cgroup) signal(sig unix.Signal) error {
	if sig == unix.SIGKILL {
		// Linux 5.14, and atomic.
		if err := c.write("cgroup.kill", "1"); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return filepath.WalkDir(c.dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a cgroup that went away has nobody to signal
		}
		b, err := readFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for line := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
					return err
				}
			}
		}
		return nil
	})
}

// remove kills what is left in the cgroup and removes it with all below it.
func (c cgroup) remove(ctx context.Context) error {
	if c.dir == "" {
		return nil
	}
	err := unix.Rmdir(c.dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err := c.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("kill cgroup %s: %w", c.dir, err)
	}
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err = removeTree(c.dir); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup %s: %w", c.dir, err)
		case <-time.After(wait):
		}
	}
}

// removeTree removes a directory of cgroups, the lowest first.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return err
	}
	return nil
}

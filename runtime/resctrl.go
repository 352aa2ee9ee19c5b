package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// resctrl is the container's place in the file system that divides caches and
// memory bandwidth (linux.intelRdt).
type resctrl struct {
	Group string `json:"group"`          // its class of service
	Made  bool   `json:"made,omitempty"` // by us, to be removed
	Mon   string `json:"mon,omitempty"`  // its monitoring group
}

const resctrlMount = "/sys/fs/resctrl"

// openResctrl makes what linux.intelRdt asks for, with nobody in it yet.
func openResctrl(s *specs.LinuxIntelRdt, id string) (*resctrl, error) {
	if s == nil {
		return nil, nil
	}
	if !isFS(resctrlMount, unix.RDTGROUP_SUPER_MAGIC) {
		return nil, &UnsupportedError{Feature: "linux.intelRdt", Needs: "resctrl mounted at " + resctrlMount}
	}
	return newResctrl(resctrlMount, s, id)
}

func newResctrl(root string, s *specs.LinuxIntelRdt, id string) (_ *resctrl, err error) {
	name := s.ClosID
	switch {
	case name == "":
		name = id
	case name == "/":
		name = ""
	case strings.ContainsAny(name, "/\n\x00") || name == "." || name == "..":
		return nil, fmt.Errorf("intelRdt: closID %q is no name of a directory", name)
	}
	lines := make([]string, 0, 2+len(s.Schemata))
	for _, l := range append([]string{s.L3CacheSchema, s.MemBwSchema}, s.Schemata...) {
		if strings.Contains(l, "\n") {
			return nil, fmt.Errorf("intelRdt: schema %q has more than one line", l)
		}
		if l != "" {
			lines = append(lines, l)
		}
	}
	r := &resctrl{Group: filepath.Join(root, name)}
	defer func() {
		if err != nil {
			r.remove() //nolint:errcheck // the failure itself is the one to tell
		}
	}()
	switch err := unix.Mkdir(r.Group, 0o755); {
	case err == nil && s.ClosID != "" && len(lines) == 0:
		unix.Rmdir(r.Group)
		return nil, fmt.Errorf("intelRdt: closID %q: %w", s.ClosID, unix.ENOENT)
	case err == nil:
		r.Made = true
	case err != unix.EEXIST:
		return nil, fmt.Errorf("intelRdt: make %s: %w", r.Group, err)
	case s.ClosID != "":
		if err := r.matches(s.L3CacheSchema, s.MemBwSchema); err != nil {
			return nil, err
		}
	}
	if len(lines) > 0 {
		if err := r.write(r.Group, "schemata", strings.Join(lines, "\n")+"\n"); err != nil {
			return nil, err
		}
	}
	if s.ClosID != "" {
		r.Made = false // for others, too
	}
	if s.EnableMonitoring {
		mon := filepath.Join(r.Group, "mon_groups", id)
		if err := unix.Mkdir(mon, 0o755); err != nil {
			return nil, fmt.Errorf("intelRdt: make %s: %w", mon, err)
		}
		r.Mon = mon
	}
	return r, nil
}

// write writes to a file of a group, which the kernel has made with it.
func (r *resctrl) write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("intelRdt: %w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("intelRdt: write %q to %s of %s: %w", text, file, dir, err)
	}
	return nil
}

// matches compares the schemas asked for with those of a group that exists.
func (r *resctrl) matches(schemas ...string) error {
	b, err := os.ReadFile(filepath.Join(r.Group, "schemata"))
	if err != nil {
		return fmt.Errorf("intelRdt: %w", err)
	}
	have := make(map[string]string)
	for line := range strings.SplitSeq(string(b), "\n") {
		addSchema(have, line)
	}
	for _, s := range schemas {
		want := make(map[string]string)
		addSchema(want, s)
		for k, v := range want {
			if have[k] != v {
				return fmt.Errorf("intelRdt: %s has not the schema %q: %s is %q", r.Group, s, k, have[k])
			}
		}
	}
	return nil
}

// addSchema reads a line like "L3:0=ff;1=0f" into L3:0, L3:1.
func addSchema(m map[string]string, line string) {
	kind, rest, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	for pair := range strings.SplitSeq(rest, ";") {
		id, value, _ := strings.Cut(pair, "=")
		m[strings.TrimSpace(kind)+":"+strings.TrimSpace(id)] = strings.TrimLeft(strings.ToLower(strings.TrimSpace(value)), "0")
	}
}

// add puts a process into the group.
func (r *resctrl) add(pid int) error {
	for _, dir := range []string{r.Group, r.Mon} {
		if dir == "" {
			continue
		}
		if err := r.write(dir, "tasks", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes what was made for the container.
func (r *resctrl) remove() error {
	if r == nil {
		return nil
	}
	var errs []error
	dirs := []string{r.Mon}
	if r.Made {
		dirs = append(dirs, r.Group)
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

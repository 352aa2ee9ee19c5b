package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Files of a container below the store's root, in a directory named by its ID.
const (
	stateFile  = "state.json"  // record, written once by create
	configFile = "config.json" // the configuration as it was at create
	startFile  = "start.sock"  // where the init waits to be started; gone once it was
)

// record is what is remembered of a container. Nothing in it changes: whether
// the container runs is asked of the kernel.
type record struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	StartTime   uint64            `json:"starttime"` // of the init, in clock ticks since boot: tells it from a later process of the same pid
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Cgroup      string            `json:"cgroup,omitempty"`
	Unit        string            `json:"unit,omitempty"`     // of systemd, that owns the cgroup
	Namespaces  uint64            `json:"namespaces"`         // clone flags of those that are not the runtime's own
	Hooks       bool              `json:"hooks,omitempty"`    // the configuration has some
	Mounted     bool              `json:"mounted,omitempty"`  // the root is mounted in a namespace that outlives the container
	Chroot      bool              `json:"chroot,omitempty"`   // the root is the init's alone, not its mount namespace's
	Listener    *listener         `json:"listener,omitempty"` // of the init's seccomp filter
	Resctrl     *resctrl          `json:"resctrl,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Container is a container of a store.
type Container struct {
	dir string
	rec record
}

// ID is the container's name.
func (c *Container) ID() string { return c.rec.ID }

// Pid is the init's, as the runtime's pid namespace numbers it. It may have
// ended.
func (c *Container) Pid() int { return c.rec.Pid }

// Created is when the container was created.
func (c *Container) Created() time.Time { return c.rec.Created }

// checkID accepts what may be a directory's name.
func checkID(id string) error {
	if id == "" || len(id) > 1024 || id == "." || id == ".." {
		return fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '+', c == '-', c == '.':
		default:
			return fmt.Errorf("%w: %q", ErrInvalidID, id)
		}
	}
	return nil
}

// Open opens an existing container of the store at root.
func Open(root, id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	c := &Container{dir: filepath.Join(root, id)}
	b, err := readFile(filepath.Join(c.dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", id, err)
	}
	if err := json.Unmarshal(b, &c.rec); err != nil {
		return nil, fmt.Errorf("parse state of %s: %w", id, err)
	}
	if c.rec.ID != id || c.rec.Pid <= 0 {
		return nil, fmt.Errorf("parse state of %s: not a state of it", id)
	}
	return c, nil
}

// List opens every container of the store at root.
func List(root string) ([]*Container, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", root, err)
	}
	var list []*Container
	for _, e := range entries {
		if c, err := Open(root, e.Name()); err == nil {
			list = append(list, c)
		}
	}
	return list, nil
}

// Status computes the state that the container is in now.
func (c *Container) Status() specs.ContainerState {
	state, started, err := processStat(c.rec.Pid)
	if err != nil || started != c.rec.StartTime || state == 'Z' || state == 'X' {
		return specs.StateStopped
	}
	if _, err := os.Lstat(filepath.Join(c.dir, startFile)); err == nil {
		return specs.StateCreated
	}
	if (cgroup{c.rec.Cgroup}).frozen() {
		return "paused"
	}
	return specs.StateRunning
}

// State is the container's state as the runtime specification has it.
func (c *Container) State() specs.State { return c.stateAs(c.Status()) }

func (c *Container) stateAs(status specs.ContainerState) specs.State {
	s := specs.State{
		Version: c.rec.Version, ID: c.rec.ID, Status: status,
		Pid: c.rec.Pid, Bundle: c.rec.Bundle, Annotations: c.rec.Annotations,
	}
	if status == specs.StateStopped {
		s.Pid = 0
	}
	return s
}

// Unit is the unit of systemd that was made for the container, "" if there is none.
func (c *Container) Unit() string { return c.rec.Unit }

// Cgroup is the directory of the container's cgroup, "" without one.
func (c *Container) Cgroup() string { return c.rec.Cgroup }

// Rootfs is the root directory's path as the configuration has it.
func (c *Container) Rootfs() string { return c.rec.Rootfs }

// spec reads the configuration that the container was created with.
func (c *Container) spec() (*specs.Spec, error) {
	b, err := readFile(filepath.Join(c.dir, configFile))
	if err != nil {
		return nil, fmt.Errorf("read configuration of %s: %w", c.rec.ID, err)
	}
	return LoadSpec(b)
}

// pidfd holds the init, or says that it is gone.
func (c *Container) pidfd() (int, error) {
	fd, err := unix.PidfdOpen(c.rec.Pid, 0)
	if err == unix.ESRCH {
		return -1, ErrStopped
	}
	if err != nil {
		return -1, fmt.Errorf("open pidfd of %d: %w", c.rec.Pid, err)
	}
	// Asked after opening: the pid cannot change its owner any more.
	state, started, err := processStat(c.rec.Pid)
	if err != nil || started != c.rec.StartTime || state == 'Z' || state == 'X' {
		unix.Close(fd)
		return -1, ErrStopped
	}
	return fd, nil
}

// lock keeps other verbs away from the container until unlock.
func (c *Container) lock() (unlock func(), err error) {
	fd, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, fmt.Errorf("container %q: %w", c.rec.ID, ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", c.rec.ID, err)
	}
	for {
		err = unix.Flock(fd, unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w", c.rec.ID, err)
	}
	return func() { unix.Close(fd) }, nil
}

// processStat reads the state letter and the start time of a process.
func processStat(pid int) (state byte, started uint64, err error) {
	b, err := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name, in parentheses, may contain anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, errors.New("parse stat")
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return 0, 0, errors.New("parse stat")
	}
	started, err = strconv.ParseUint(string(f[19]), 10, 64)
	return f[0][0], started, err
}

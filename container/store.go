package container

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Where containers are kept unless the configuration says otherwise.
const (
	DefaultRoot = "/var/lib/berth"
	DefaultRun  = "/run/berth"
)

// Store keeps containers on disk: what must survive a reboot below root, what
// belongs to one run below run.
//
//	root/containers/ID/     record, configuration, exit record, upper layer
//	root/names/NAME      -> ../containers/ID
//	run/ID/                 the bundle of the current run
//	run/ctl/ID              the control socket of berth-NAME.service
//	run/ctl@/NAME           the control socket of container@NAME.service
//
// A directory whose name begins with a dot is being made, and locked by its
// maker, or removed. One becomes the other, or a container, by rename(2) alone:
// whoever comes second finds nothing rather than half of it.
type Store struct {
	root, run string
}

// Open returns the store below root and run. It touches nothing.
func Open(root, run string) *Store { return &Store{root, run} }

// Root and Run are the directories that the store was opened with.
func (s *Store) Root() string { return s.root }
func (s *Store) Run() string  { return s.run }

func (s *Store) containers() string { return filepath.Join(s.root, "containers") }
func (s *Store) names() string      { return filepath.Join(s.root, "names") }

// Dir is the directory of container id; RunDir that of its current run.
func (s *Store) Dir(id string) string    { return filepath.Join(s.containers(), id) }
func (s *Store) RunDir(id string) string { return filepath.Join(s.run, id) }

// pending is the directory of a container that is being made.
func (s *Store) pending(id string) string { return filepath.Join(s.containers(), pendingPrefix+id) }

// removed is a directory for one that is being removed; another one each time,
// because two sweeps may meet the same ID.
func (s *Store) removed(id string) string {
	return filepath.Join(s.containers(), removedPrefix+id+"-"+NewID()[:8])
}

const (
	pendingPrefix = ".new-"
	removedPrefix = ".rm-"
)

// Control is the path of the control socket of container id in its transient
// unit; ControlAt that of container name behind container@.service.
func (s *Store) Control(id string) string     { return filepath.Join(s.run, "ctl", id) }
func (s *Store) ControlAt(name string) string { return filepath.Join(s.run, "ctl@", name) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// known is exists for those who may not be allowed to know.
func known(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Load returns the record of the container called by name, ID or the unique
// beginning of an ID.
func (s *Store) Load(nameOrID string) (*Record, error) {
	return s.loadNamed(nameOrID, decodeAll)
}

func (s *Store) loadNamed(nameOrID string, decode func([]byte, *Record) error) (*Record, error) {
	id, err := s.find(nameOrID)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", nameOrID, err)
	}
	return s.load(id, decode)
}

func (s *Store) find(nameOrID string) (string, error) {
	if CheckName(nameOrID) != nil {
		return "", ErrNotExist
	}
	// An ID comes first: whoever has one must not meet a container that was
	// given it for a name.
	if isID(nameOrID) {
		if ok, err := known(s.Dir(nameOrID)); ok || err != nil {
			return nameOrID, err
		}
	}
	id, err := s.nameID(nameOrID)
	if err == nil {
		if ok, err := known(s.Dir(id)); ok || err != nil {
			return id, err
		}
	} else if errors.Is(err, fs.ErrPermission) {
		return "", err
	}
	if !isHex(nameOrID) {
		return "", ErrNotExist
	}
	ids, err := s.ids()
	if err != nil {
		return "", err
	}
	found := ""
	for _, id := range ids {
		if strings.HasPrefix(id, nameOrID) {
			if found != "" {
				return "", ErrAmbiguous
			}
			found = id
		}
	}
	if found == "" {
		return "", ErrNotExist
	}
	return found, nil
}

// LoadStarting is Load for the shim: a container that is only prepared is
// committed first. It has been started, so it is there. The record is without
// what its start does not need: most of Spec, Mounts and Labels.
func (s *Store) LoadStarting(nameOrID string) (*Record, error) {
	if isID(nameOrID) {
		if err := s.Commit(nameOrID); err != nil {
			return nil, err
		}
	}
	return s.loadNamed(nameOrID, decodeStarting)
}

// decodeStarting reads a part of a record. Before it begins the decoder looks at
// every type that it may meet: the Spec's would take longer than all the rest.
func decodeStarting(data []byte, r *Record) error {
	var p struct {
		Version     int
		ID, Name    string
		Created     time.Time
		Image       ImageRef
		Command     []string
		Rootfs      Rootfs
		Runtime     Runtime
		Terminal    bool
		OpenStdin   bool
		AutoRemove  bool
		Up          bool
		AppArmor    string
		StopSignal  int
		StopTimeout time.Duration
		Restart     RestartPolicy
		Log         LogConfig
		Spec        struct{ Resources Resources }
	}
	err := json.Unmarshal(data, &p)
	*r = Record{
		Version: p.Version, ID: p.ID, Name: p.Name, Created: p.Created, Image: p.Image, Command: p.Command,
		Rootfs: p.Rootfs, Runtime: p.Runtime, Terminal: p.Terminal, OpenStdin: p.OpenStdin, AutoRemove: p.AutoRemove,
		Up: p.Up, AppArmor: p.AppArmor, StopSignal: p.StopSignal, StopTimeout: p.StopTimeout, Restart: p.Restart, Log: p.Log,
		Spec: Spec{Resources: p.Spec.Resources},
	}
	return err
}

// LoadID returns the record of the container with this full ID.
func (s *Store) LoadID(id string) (*Record, error) {
	return s.load(id, decodeAll)
}

func decodeAll(data []byte, r *Record) error { return json.Unmarshal(data, r) }

func (s *Store) load(id string, decode func([]byte, *Record) error) (*Record, error) {
	path := filepath.Join(s.Dir(id), RecordFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read container %s: %w", id, err)
	}
	r, err := decodeRecord(data, decode)
	if err == nil && r.ID != id {
		err = fmt.Errorf("it %w: it is the record of container %s", ErrDamaged, r.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func decodeRecord(data []byte, decode func([]byte, *Record) error) (*Record, error) {
	r := new(Record)
	if err := decode(data, r); err != nil {
		return nil, fmt.Errorf("it %w: %w", ErrDamaged, err)
	}
	if r.Version < 1 {
		return nil, fmt.Errorf("it %w: it has no format", ErrDamaged)
	}
	if r.Version > RecordVersion {
		return nil, fmt.Errorf("format %d is newer than this berth knows (%d): upgrade berth", r.Version, RecordVersion)
	}
	if !isID(r.ID) || CheckName(r.Name) != nil {
		return nil, fmt.Errorf("it %w: it is no container's", ErrDamaged)
	}
	return r, nil
}

// List returns the records of all containers, oldest first. A record that
// cannot be read is left out and its error joined into the one returned, so
// that one damaged container hides no other.
func (s *Store) List() ([]*Record, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	records := make([]*Record, 0, len(ids))
	var errs []error
	for _, id := range ids {
		r, err := s.LoadID(id)
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, ErrNotExist): // removed meanwhile
			errs = append(errs, err)
		}
	}
	slices.SortFunc(records, func(a, b *Record) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return records, errors.Join(errs...)
}

// ImageUsers returns the names of the containers made from the image with this
// ID, also of those that are prepared and not committed yet. A record that
// cannot be read may be a user: that is an error.
func (s *Store) ImageUsers(imageID string) ([]string, error) {
	entries, err := os.ReadDir(s.containers())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var users []string
	for _, e := range entries {
		if !isID(strings.TrimPrefix(e.Name(), pendingPrefix)) {
			continue
		}
		r, err := readJSON[Record](filepath.Join(s.containers(), e.Name(), RecordFile))
		if err != nil {
			return nil, err
		}
		if r != nil && r.Image.ID == imageID {
			users = append(users, r.Name)
		}
	}
	return users, nil
}

func (s *Store) ids() ([]string, error) {
	d, err := os.Open(s.containers())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	ids := names[:0]
	for _, n := range names {
		if isID(n) {
			ids = append(ids, n)
		}
	}
	return ids, nil
}

// Update replaces the record of r.ID.
//
// Preconditions: the caller holds Lock(r.ID).
func (s *Store) Update(r *Record) error {
	return writeJSON(filepath.Join(s.Dir(r.ID), RecordFile), r, true)
}

// Remove takes the container off the disk: out of sight by one rename, then
// file by file. What a kill leaves of the second half Sweep removes; a power cut
// may bring all of it back. Where a rename was faster r has the new name after
// that.
func (s *Store) Remove(r *Record) error {
	gone := s.removed(r.ID)
	if err := os.Rename(s.Dir(r.ID), gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove container %s: %w", r.Name, ErrNotExist)
		}
		return fmt.Errorf("remove container %s: %w", r.Name, err)
	}
	s.dropName(r.Name, r.ID)
	// From here on nobody can rename it.
	if now, err := readJSON[Record](filepath.Join(gone, RecordFile)); err == nil && now != nil && now.Name != r.Name && CheckName(now.Name) == nil {
		r.Name = now.Name
		s.dropName(r.Name, r.ID)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove container %s: %w", r.Name, err)
	}
	return nil
}

// Sweep removes what killed creates, renames and removes left behind. What is
// being made, committed or removed meanwhile is left to whoever does it.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(s.containers())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep containers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if id, ok := strings.CutPrefix(e.Name(), pendingPrefix); ok {
			_, err := s.discard(id)
			errs = append(errs, err)
		} else if strings.HasPrefix(e.Name(), removedPrefix) {
			errs = append(errs, os.RemoveAll(filepath.Join(s.containers(), e.Name())))
		}
	}
	errs = append(errs, s.sweepNames())
	return errors.Join(errs...)
}

// Started returns what the shim observed at the start of the current run; nil
// where there is none.
func (s *Store) Started(id string) (*Started, error) {
	return readJSON[Started](filepath.Join(s.RunDir(id), StartedFile))
}

// WriteStarted is the shim's.
func (s *Store) WriteStarted(id string, v *Started) error {
	return writeJSON(filepath.Join(s.RunDir(id), StartedFile), v, false)
}

// Exit returns the exit record of the last run; nil where no run has ended.
func (s *Store) Exit(id string) (*Exit, error) {
	return readJSON[Exit](filepath.Join(s.Dir(id), ExitFile))
}

// WriteExit is the shim's, and of whoever sweeps after one.
func (s *Store) WriteExit(id string, v *Exit) error {
	return writeJSON(filepath.Join(s.Dir(id), ExitFile), v, false)
}

// StopTimeout returns how long a stop may take: the record's time unless a
// verb left another one for the current run.
func (s *Store) StopTimeout(r *Record) time.Duration {
	if v, err := readJSON[time.Duration](filepath.Join(s.RunDir(r.ID), StopTimeoutFile)); err == nil && v != nil {
		return *v
	}
	return r.StopTimeout
}

// SetStopTimeout leaves a time for the stop that follows.
func (s *Store) SetStopTimeout(id string, d time.Duration) error {
	return writeJSON(filepath.Join(s.RunDir(id), StopTimeoutFile), d, false)
}

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
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
// A directory whose name begins with a dot is being made or removed: its
// maker holds a lock on it, and Sweep removes it where nobody does.
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

// Control is the path of the control socket of container id in its transient
// unit; ControlAt that of container name behind container@.service.
func (s *Store) Control(id string) string     { return filepath.Join(s.run, "ctl", id) }
func (s *Store) ControlAt(name string) string { return filepath.Join(s.run, "ctl@", name) }

// Create makes a container: its directory is prepared and committed in one go.
// fill writes the other files into the directory it is given. ErrExists where
// the name is taken.
func (s *Store) Create(r *Record, fill func(dir string) error) error {
	p, err := s.Prepare(r, fill)
	if err != nil {
		return err
	}
	defer p.Close()
	return s.Commit(r.ID)
}

// Pending is a container that is complete on disk and not there yet for
// anybody. Whoever starts it commits it, by [Store.Commit]; if that never
// happens it vanishes with the Pending, or with its maker's life.
type Pending struct {
	s      *Store
	record *Record
	lock   *Lock
}

// Prepare makes the directory of r under a name that no reader looks at.
func (s *Store) Prepare(r *Record, fill func(dir string) error) (_ *Pending, err error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	tmp := s.pending(r.ID)
	if err := mkdirIn(tmp); err != nil {
		return nil, fmt.Errorf("create container %s: %w", r.Name, err)
	}
	// Shared, as a shim's is: the one that commits this container must not
	// find it taken.
	lock, err := lockDir(tmp, tryShared)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", r.Name, err)
	}
	p := &Pending{s, r, lock}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := s.claimName(r.Name, r.ID); err != nil {
		return nil, err
	}
	if fill != nil {
		if err := fill(tmp); err != nil {
			return nil, err
		}
	}
	// A container that goes away by itself is worth no wait for the disk.
	if err := writeJSON(filepath.Join(tmp, RecordFile), r, !r.AutoRemove); err != nil {
		return nil, err
	}
	return p, nil
}

// Close removes what Prepare made unless it was committed.
func (p *Pending) Close() error {
	defer p.lock.Close()
	tmp := p.s.pending(p.record.ID)
	if !exists(tmp) {
		return nil // committed
	}
	p.s.dropName(p.record.Name, p.record.ID)
	return os.RemoveAll(tmp)
}

// Commit makes a prepared container one that is there, by one rename. A
// container that is there already is no error.
func (s *Store) Commit(id string) error {
	err := os.Rename(s.pending(id), s.Dir(id))
	if err == nil || errors.Is(err, fs.ErrNotExist) && exists(s.Dir(id)) {
		return nil
	}
	return fmt.Errorf("create container %s: %w", id, err)
}

func (s *Store) pending(id string) string { return filepath.Join(s.containers(), pendingPrefix+id) }

const (
	pendingPrefix = ".new-"
	removedPrefix = ".rm-"
)

// mkdirIn makes dir, and its parents where they are missing, for root alone.
func mkdirIn(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o711); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	return err
}

// claimName makes the name's link. A link whose container is neither there nor
// being made is what a killed create left: it is removed and the claim tried again.
func (s *Store) claimName(name, id string) error {
	link := filepath.Join(s.names(), name)
	target := filepath.Join("..", "containers", id)
	for {
		err := os.Symlink(target, link)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(s.names(), 0o711); err == nil {
				err = os.Symlink(target, link)
			}
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("name container %s: %w", name, err)
		}
		if stale, err := s.dropStaleName(name); err != nil {
			return err
		} else if !stale {
			return fmt.Errorf("name container %q: %w: choose another one, or remove that container first", name, ErrExists)
		}
	}
}

// dropStaleName removes the link of name if no container is behind it, and
// says whether it is worth trying again. The lock on the directory of names
// keeps two sweepers from removing a claim that came after the first one.
func (s *Store) dropStaleName(name string) (bool, error) {
	lock, err := lockDir(s.names(), lockExclusive)
	if err != nil {
		return false, fmt.Errorf("name container %s: %w", name, err)
	}
	defer lock.Close()
	id, err := s.nameID(name)
	if err != nil {
		return errors.Is(err, ErrNotExist), nil
	}
	// Look at the unfinished directory first: a create that commits between
	// the two looks is seen by the second.
	making := held(s.pending(id))
	if making || exists(s.Dir(id)) {
		return false, nil
	}
	s.dropName(name, id)
	return true, nil
}

// dropName removes the link of name where it leads to id.
func (s *Store) dropName(name, id string) {
	if got, err := s.nameID(name); err == nil && got == id {
		os.Remove(filepath.Join(s.names(), name))
	}
}

// nameID returns the ID behind a name; ErrNotExist where there is no such name.
func (s *Store) nameID(name string) (string, error) {
	target, err := os.Readlink(filepath.Join(s.names(), name))
	if err != nil {
		return "", ErrNotExist
	}
	return filepath.Base(target), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Load returns the record of the container called by name, ID or the unique
// beginning of an ID.
func (s *Store) Load(nameOrID string) (*Record, error) {
	id, err := s.find(nameOrID)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", nameOrID, err)
	}
	return s.LoadID(id)
}

func (s *Store) find(nameOrID string) (string, error) {
	if CheckName(nameOrID) != nil {
		return "", ErrNotExist
	}
	if id, err := s.nameID(nameOrID); err == nil && exists(s.Dir(id)) {
		return id, nil
	}
	if isID(nameOrID) {
		return nameOrID, nil
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
// committed first. It has been started, so it is there.
func (s *Store) LoadStarting(nameOrID string) (*Record, error) {
	if isID(nameOrID) {
		if err := s.Commit(nameOrID); err != nil {
			return nil, err
		}
	}
	return s.Load(nameOrID)
}

// LoadID returns the record of the container with this full ID.
func (s *Store) LoadID(id string) (*Record, error) {
	path := filepath.Join(s.Dir(id), RecordFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read container %s: %w", id, err)
	}
	r, err := decodeRecord(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if r.ID != id {
		return nil, fmt.Errorf("read %s: it is the record of container %s", path, r.ID)
	}
	return r, nil
}

func decodeRecord(data []byte) (*Record, error) {
	r := new(Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if r.Version > RecordVersion {
		return nil, fmt.Errorf("format %d is newer than this berth knows (%d): upgrade berth", r.Version, RecordVersion)
	}
	if !isID(r.ID) || CheckName(r.Name) != nil {
		return nil, fmt.Errorf("not a container's record")
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
	sort.Slice(records, func(i, j int) bool { return records[i].Created.Before(records[j].Created) })
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

// Rename gives r another name. ErrExists where that is taken.
func (s *Store) Rename(r *Record, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if name == r.Name {
		return nil
	}
	if err := s.claimName(name, r.ID); err != nil {
		return err
	}
	renamed := *r
	renamed.Name = name
	if err := s.Update(&renamed); err != nil {
		s.dropName(name, r.ID)
		return err
	}
	s.dropName(r.Name, r.ID)
	r.Name = name
	return nil
}

// Remove takes the container off the disk: out of sight by one rename, then
// file by file. What a kill leaves of the second half Sweep removes.
func (s *Store) Remove(r *Record) error {
	gone := filepath.Join(s.containers(), removedPrefix+r.ID)
	if err := os.Rename(s.Dir(r.ID), gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove container %s: %w", r.Name, ErrNotExist)
		}
		return fmt.Errorf("remove container %s: %w", r.Name, err)
	}
	s.dropName(r.Name, r.ID)
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("remove container %s: %w", r.Name, err)
	}
	return nil
}

// Sweep removes what killed creates and removes left behind.
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
		path := filepath.Join(s.containers(), e.Name())
		switch {
		case strings.HasPrefix(e.Name(), pendingPrefix) && !held(path):
		case strings.HasPrefix(e.Name(), removedPrefix):
		default:
			continue
		}
		errs = append(errs, os.RemoveAll(path))
	}
	links, _ := os.ReadDir(s.names())
	for _, l := range links {
		if id, err := s.nameID(l.Name()); err == nil && !exists(s.Dir(id)) {
			_, err := s.dropStaleName(l.Name())
			errs = append(errs, err)
		}
	}
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

package container

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCreateLoadRemove(t *testing.T) {
	s := testStore(t)
	if _, err := s.Load("web"); !errors.Is(err, ErrNotExist) {
		t.Fatalf("load from an empty store: got %v, want ErrNotExist", err)
	}
	if l, err := s.List(); err != nil || len(l) != 0 {
		t.Fatalf("list of an empty store: got %v, %v", l, err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatalf("sweep of an empty store: %v", err)
	}
	r := create(t, s, "web")
	for _, name := range []string{"web", r.ID, r.ID[:12], r.ID[:63]} {
		got, err := s.Load(name)
		if err != nil {
			t.Fatalf("load %s: %v", name, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Fatalf("load %s (-want +got):\n%s", name, diff)
		}
	}
	if err := s.Create(testRecord("web"), nil); !errors.Is(err, ErrExists) {
		t.Fatalf("second create: got %v, want ErrExists", err)
	}
	if err := s.Remove(r); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(r); !errors.Is(err, ErrNotExist) {
		t.Fatalf("second remove: got %v, want ErrNotExist", err)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestModes(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "web")
	for path, want := range map[string]os.FileMode{
		s.root:                                 0o711,
		s.containers():                         0o711,
		s.names():                              0o711,
		s.Dir(r.ID):                            0o700,
		filepath.Join(s.Dir(r.ID), RecordFile): 0o600,
	} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %o, want %o", path, got, want)
		}
	}
}

func TestCreateFailed(t *testing.T) {
	s := testStore(t)
	full := errors.New("no space left on device")
	err := s.Create(testRecord("web"), func(dir string) error {
		if err := fillSome(dir); err != nil {
			return err
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Fatalf("got %v, want the error of fill", err)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, name := range []string{"", "../x", "a@b", strings.Repeat("x", MaxName+1)} {
		if err := s.Create(testRecord(name), nil); err == nil {
			t.Errorf("create %q: got no error", name)
		}
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestPrepare(t *testing.T) {
	s := testStore(t)
	r := testRecord("web")
	r.Image.ID = "sha256:1"
	p, err := s.Prepare(r, fillSome)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", r.ID, r.ID[:12]} {
		if _, err := s.Load(name); !errors.Is(err, ErrNotExist) {
			t.Errorf("load %s before the commit: got %v, want ErrNotExist", name, err)
		}
	}
	if l, err := s.List(); err != nil || len(l) != 0 {
		t.Errorf("list before the commit: got %v, %v", l, err)
	}
	if users, err := s.ImageUsers("sha256:1"); err != nil || !slices.Equal(users, []string{"web"}) {
		t.Errorf("users of the image before the commit: got %v, %v", users, err)
	}
	if err := s.Create(testRecord("web"), nil); !errors.Is(err, ErrExists) {
		t.Errorf("create of a prepared name: got %v, want ErrExists", err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	got, err := s.LoadStarting(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("loaded by the shim (-want +got):\n%s", diff)
	}
	if err := s.Commit(r.ID); err != nil {
		t.Errorf("second commit: %v", err)
	}
	// The shim's lock and the maker's go together; no verb gets in between.
	shim, err := s.Hold(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(r.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("lock of a container with a shim: got %v, want ErrInUse", err)
	}
	shim.Close()
	if _, err := s.Load("web"); err != nil {
		t.Errorf("load after the commit and Close: %v", err)
	}
}

func TestPendingClosed(t *testing.T) {
	s := testStore(t)
	r := testRecord("web")
	p, err := s.Prepare(r, fillSome)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := s.Commit(r.ID); err == nil {
		t.Error("commit of what is gone: got no error")
	}
}

func TestPrefixes(t *testing.T) {
	s := testStore(t)
	with := func(prefix, name string) *Record {
		r := testRecord(name)
		r.ID = prefix + r.ID[len(prefix):]
		if err := s.Create(r, nil); err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := with("abcd0", "one"), with("abcd1", "two")
	c := with("e", "abcd") // a name that looks like the beginning of an ID
	for want, names := range map[string][]string{
		a.ID: {"abcd0", a.ID[:20], a.ID, "one"},
		b.ID: {"abcd1", b.ID[:20], b.ID, "two"},
		c.ID: {"e", c.ID, "abcd"},
	} {
		for _, name := range names {
			if r, err := s.Load(name); err != nil || r.ID != want {
				t.Errorf("load %s: got %v, %v, want %s", name, r, err, want)
			}
		}
	}
	for name, want := range map[string]error{
		"abc": ErrAmbiguous, "a": ErrAmbiguous, "abcd2": ErrNotExist, "": ErrNotExist, "ABCD0": ErrNotExist,
		strings.Repeat("f", 64): ErrNotExist, a.ID + "0": ErrNotExist, "../names/one": ErrNotExist, ".": ErrNotExist, "..": ErrNotExist,
	} {
		if r, err := s.Load(name); !errors.Is(err, want) {
			t.Errorf("load %q: got %v, %v, want %v", name, r, err, want)
		}
	}
}

// A verb that was given a full ID, and every shim is, must not meet another
// container that took this ID for its name.
func TestNameIsAnotherID(t *testing.T) {
	s := testStore(t)
	a := create(t, s, "web")
	create(t, s, a.ID)
	for _, load := range []func(string) (*Record, error){s.Load, s.LoadStarting} {
		r, err := load(a.ID)
		if err != nil {
			t.Fatal(err)
		}
		if r.Name != "web" {
			t.Errorf("load by ID: got container %s", r.Name)
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	s := testStore(t)
	good := create(t, s, "good")
	data, err := os.ReadFile(filepath.Join(s.Dir(good.ID), RecordFile))
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string]string{
		"truncated": string(data[:len(data)/2]),
		"empty":     "",
		"other":     string(data),
		"garbage":   "\x00\xff\x00{{{",
		"null":      "null",
		"array":     "[]",
		"nothing":   "{}",
		"trailing":  string(data) + "{}",
		"type":      `{"version":"1"}`,
		"noversion": strings.Replace(string(data), `"version":1`, `"version":0`, 1),
		"newer":     strings.Replace(string(data), `"version":1`, `"version":2`, 1),
	}
	ids := map[string]string{}
	for name, text := range damaged {
		r := create(t, s, name)
		ids[name] = r.ID
		text = strings.Replace(text, good.ID, map[bool]string{true: good.ID, false: r.ID}[name == "other"], 1)
		if err := os.WriteFile(filepath.Join(s.Dir(r.ID), RecordFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, err := s.List()
	if len(records) != 1 || records[0].Name != "good" {
		t.Errorf("list: got %d records, want the good one", len(records))
	}
	if err == nil {
		t.Fatal("list: got no error")
	}
	for name, id := range ids {
		if !strings.Contains(err.Error(), s.Dir(id)) {
			t.Errorf("%s: the error does not name its file: %v", name, err)
		}
		if _, err := s.Load(name); err == nil || errors.Is(err, ErrNotExist) {
			t.Errorf("load %s: got %v, want an error that says what is wrong", name, err)
		}
	}
	if _, err := s.Load("newer"); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("load of a newer format: got %v, want advice", err)
	}
	if _, err := s.ImageUsers("sha256:1"); err == nil {
		t.Error("users of an image with damaged records: got no error")
	}
	// They can be got rid of all the same, except what another berth can read.
	listed, err := s.Damaged()
	if err != nil || len(listed) != len(damaged)-1 || slices.Contains(listed, ids["newer"]) {
		t.Errorf("listed as damaged: %d, %v, want all but the newer one", len(listed), err)
	}
	for name, id := range ids {
		r, err := s.Remains(name)
		if name == "newer" {
			if err == nil || errors.Is(err, ErrDamaged) {
				t.Errorf("remains of a newer format: got %v, want to be refused", err)
			}
			r, err = &Record{ID: id, Name: name}, nil
		}
		if err != nil || r.ID != id || r.Name != name {
			t.Errorf("remains of %s: got %v, %v", name, r, err)
			continue
		}
		if err := s.Remove(r); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(good); err != nil {
		t.Error(err)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Who removes a container that was renamed since takes its new name too.
func TestRemoveRenamed(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "old")
	if err := s.Rename(&Record{ID: r.ID, Name: "old"}, "new"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(r); err != nil || r.Name != "new" {
		t.Errorf("got %v, name %s, want the new one", err, r.Name)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// What is not allowed to be known is not said not to be there.
func TestNotAllowed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs a user that is not root")
	}
	s := testStore(t)
	r := create(t, s, "web")
	for _, dir := range []string{s.root, s.names(), s.containers(), s.Dir(r.ID)} {
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load("web"); !errors.Is(err, os.ErrPermission) || errors.Is(err, ErrNotExist) {
			t.Errorf("load behind closed %s: got %v", dir, err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListOrder(t *testing.T) {
	s := testStore(t)
	now := time.Now()
	var want []string
	for i, name := range []string{"c", "a", "b", "e", "d"} {
		r := testRecord(name)
		r.Created = now.Add(time.Duration(i) * time.Second)
		if err := s.Create(r, nil); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	// Strangers in the directory are no containers.
	for _, d := range []string{"lost+found", ".hidden", strings.Repeat("G", 64)} {
		if err := os.Mkdir(filepath.Join(s.containers(), d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	records, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		got = append(got, r.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestRename(t *testing.T) {
	s := testStore(t)
	r, other := create(t, s, "old"), create(t, s, "other")
	for _, bad := range []string{"", "a/b", "x@y"} {
		if err := s.Rename(r, bad); err == nil {
			t.Errorf("rename to %q: got no error", bad)
		}
	}
	if err := s.Rename(r, "other"); !errors.Is(err, ErrExists) {
		t.Errorf("rename to a name that is taken: got %v, want ErrExists", err)
	}
	if err := s.Rename(r, "old"); err != nil {
		t.Errorf("rename to its own name: %v", err)
	}
	if err := s.Rename(r, "new"); err != nil {
		t.Fatal(err)
	}
	if r.Name != "new" {
		t.Errorf("record in memory: got %s", r.Name)
	}
	if got, err := s.Load("new"); err != nil || got.ID != r.ID || got.Name != "new" {
		t.Errorf("load by the new name: got %v, %v", got, err)
	}
	if _, err := s.Load("old"); !errors.Is(err, ErrNotExist) {
		t.Errorf("load by the old name: got %v, want ErrNotExist", err)
	}
	again := create(t, s, "old")
	for _, r := range []*Record{r, other, again} {
		if err := s.Remove(r); err != nil {
			t.Error(err)
		}
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Two renames from one name: the second one was read before the first.
func TestRenameTwice(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "x")
	stale := *r
	if err := s.Rename(r, "y"); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(&stale, "z"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load("z"); err != nil || got.Name != "z" {
		t.Errorf("load by the last name: got %v, %v", got, err)
	}
	for _, name := range []string{"x", "y"} {
		if _, err := s.Load(name); !errors.Is(err, ErrNotExist) {
			t.Errorf("load by %s: got %v, want ErrNotExist", name, err)
		}
		if err := s.Create(testRecord(name), nil); err != nil {
			t.Errorf("create %s: %v", name, err)
		}
	}
}

func TestRenameRemoved(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "a")
	if err := s.Remove(r); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(r, "b"); !errors.Is(err, ErrNotExist) {
		t.Errorf("rename of what is gone: got %v, want ErrNotExist", err)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A rename was killed between its steps: the container answers to its name and
// Sweep frees the other one.
func TestRenameKilled(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "a")
	link := func(name string) {
		if err := os.Symlink(filepath.Join("..", "containers", r.ID), filepath.Join(s.names(), name)); err != nil {
			t.Fatal(err)
		}
	}
	link("claimed") // before the record was written
	link("old")     // after it
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load("a"); err != nil || got.ID != r.ID {
		t.Errorf("load: got %v, %v", got, err)
	}
	for _, name := range []string{"claimed", "old"} {
		if _, err := s.Load(name); !errors.Is(err, ErrNotExist) {
			t.Errorf("load by %s: got %v, want ErrNotExist", name, err)
		}
		create(t, s, name)
	}
}

// The name of a container whose record cannot be read stays its own.
func TestSweepDamaged(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "a")
	if err := os.WriteFile(filepath.Join(s.Dir(r.ID), RecordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(testRecord("a"), nil); !errors.Is(err, ErrExists) {
		t.Errorf("create: got %v, want ErrExists", err)
	}
}

// Whatever lies in the directory of names, a create ends.
func TestStrangeNames(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"file":      func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"dangling":  func(path string) error { return os.Symlink("nowhere", path) },
		"dots":      func(path string) error { return os.Symlink("../containers/..", path) },
		"root":      func(path string) error { return os.Symlink("/", path) },
		"self":      func(path string) error { return os.Symlink("web", path) },
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			s := testStore(t)
			create(t, s, "first") // makes the directories
			if err := make(filepath.Join(s.names(), "web")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load("web"); !errors.Is(err, ErrNotExist) {
				t.Errorf("load: got %v, want ErrNotExist", err)
			}
			done := getDone(func() { _ = s.Sweep(); _ = s.Create(testRecord("web"), nil) })
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("create does not end")
			}
		})
	}
}

func getDone(f func()) chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}

func TestSweep(t *testing.T) {
	s := testStore(t)
	alive := create(t, s, "alive")
	making := testRecord("making")
	p, err := s.Prepare(making, fillSome)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dead := testRecord("dead")
	q, err := s.Prepare(dead, fillSome)
	if err != nil {
		t.Fatal(err)
	}
	q.lock.Close() // its maker was killed
	gone := create(t, s, "gone")
	if err := os.Rename(s.Dir(gone.ID), filepath.Join(s.containers(), removedPrefix+gone.ID)); err != nil {
		t.Fatal(err) // a remove was killed
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range tree(t, s) {
		if strings.Count(f, "/") == 1 {
			got = append(got, f)
		}
	}
	want := []string{"containers/" + pendingPrefix + making.ID, "containers/" + alive.ID, "names/alive", "names/making"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is there (-want +got):\n%s", diff)
	}
	if err := s.Commit(making.ID); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"dead", "gone"} {
		create(t, s, name)
	}
}

// A name that a killed creator claimed is free without a sweep.
func TestStaleClaim(t *testing.T) {
	s := testStore(t)
	cmd, out := play(t, s, "prepare", "web")
	id := out.next()
	if !isID(id) {
		t.Fatalf("prepare: %s", id)
	}
	if err := s.Create(testRecord("web"), nil); !errors.Is(err, ErrExists) {
		t.Fatalf("while its maker lives: got %v, want ErrExists", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	r := create(t, s, "web")
	// Whoever was to start the dead one finds that it is gone.
	if err := s.Commit(id); err == nil {
		t.Error("commit of the one that lost its name: got no error")
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load("web"); err != nil || got.ID != r.ID {
		t.Errorf("load: got %v, %v", got, err)
	}
	if err := s.Remove(r); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRunFiles(t *testing.T) {
	s := testStore(t)
	r := create(t, s, "web")
	if v, err := s.Started(r.ID); v != nil || err != nil {
		t.Errorf("started, without a run: got %v, %v", v, err)
	}
	if v, err := s.Exit(r.ID); v != nil || err != nil {
		t.Errorf("exit, without a run: got %v, %v", v, err)
	}
	if err := os.MkdirAll(s.RunDir(r.ID), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	code := 137
	started := &Started{Pid: 7, PidStart: 1 << 60, Time: now, Unit: "berth-web.service", Invocation: "i", Cgroup: "/c", Control: "/s", Restarts: 1}
	exit := &Exit{Version: 1, Started: now, Finished: now, Pid: 7, Code: &code, Signal: 9, OOMKilled: true}
	if err := errors.Join(s.WriteStarted(r.ID, started), s.WriteExit(r.ID, exit)); err != nil {
		t.Fatal(err)
	}
	gotS, err := s.Started(r.ID)
	if diff := cmp.Diff(started, gotS); err != nil || diff != "" {
		t.Errorf("started: %v\n%s", err, diff)
	}
	gotE, err := s.Exit(r.ID)
	if diff := cmp.Diff(exit, gotE); err != nil || diff != "" {
		t.Errorf("exit: %v\n%s", err, diff)
	}
	// A status that nobody observed stays absent.
	if err := s.WriteExit(r.ID, &Exit{Version: 1}); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Exit(r.ID); err != nil || e.Code != nil {
		t.Errorf("exit without a code: got %v, %v", e, err)
	}
	if got := s.StopTimeout(r); got != 10*time.Second {
		t.Errorf("stop timeout: got %v, want the record's", got)
	}
	if err := s.SetStopTimeout(r.ID, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.StopTimeout(r); got != 0 {
		t.Errorf("stop timeout: got %v, want 0 as left by the verb", got)
	}
	for _, path := range []string{filepath.Join(s.RunDir(r.ID), StartedFile), filepath.Join(s.Dir(r.ID), ExitFile), filepath.Join(s.RunDir(r.ID), StopTimeoutFile)} {
		if err := os.WriteFile(path, []byte(`{"pid":`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := s.Started(r.ID); err == nil {
		t.Errorf("truncated run record: got %v and no error", v)
	}
	if v, err := s.Exit(r.ID); err == nil {
		t.Errorf("truncated exit record: got %v and no error", v)
	}
	if got := s.StopTimeout(r); got != 10*time.Second {
		t.Errorf("stop timeout, file damaged: got %v, want the record's", got)
	}
}

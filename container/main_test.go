package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test binary plays other processes: BERTH_TEST_ROLE names which.
const roleEnv = "BERTH_TEST_ROLE"

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	s := Open(os.Getenv("BERTH_TEST_ROOT"), os.Getenv("BERTH_TEST_RUN"))
	if err := role(s, os.Args[1:]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

var roles = map[string]func(*Store, []string) error{
	// create NAME: one container.
	"create": func(s *Store, args []string) error {
		r := testRecord(args[0])
		if err := s.Create(r, fillSome); err != nil {
			if errors.Is(err, ErrExists) {
				fmt.Println("taken")
				return nil
			}
			return err
		}
		fmt.Println(r.ID)
		return nil
	},
	// churn NAME: creates, renames and removes until it is killed.
	"churn": func(s *Store, args []string) error {
		fmt.Println("ready")
		for i := 0; ; i++ {
			r := testRecord(args[0])
			if err := s.Create(r, fillSome); err != nil {
				return err
			}
			if err := s.Rename(r, fmt.Sprintf("%s-%d", args[0], i%3)); err != nil {
				return err
			}
			if err := s.Remove(r); err != nil {
				return err
			}
		}
	},
	// prepare NAME: prepares, says so and waits to be killed.
	"prepare": func(s *Store, args []string) error {
		r := testRecord(args[0])
		if _, err := s.Prepare(r, fillSome); err != nil {
			return err
		}
		fmt.Println(r.ID)
		select {}
	},
}

// play starts the test binary in a role. It is killed at the test's end.
func play(t *testing.T, s *Store, role string, args ...string) (*exec.Cmd, *lines) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "BERTH_TEST_ROOT="+s.root, "BERTH_TEST_RUN="+s.run)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, &lines{out.(*os.File)}
}

type lines struct{ f *os.File }

// next is the next line that the process prints, "" at its end.
func (l *lines) next() string {
	var b strings.Builder
	var c [1]byte
	for {
		n, err := l.f.Read(c[:])
		if n == 0 || err != nil || c[0] == '\n' {
			return b.String()
		}
		b.WriteByte(c[0])
	}
}

// testStore is below /dev/shm where it can be: the faster the file system, the
// more often a race is run.
func testStore(t testing.TB) *Store {
	dir, err := os.MkdirTemp("/dev/shm", "berth-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Open(filepath.Join(dir, "lib"), filepath.Join(dir, "run"))
}

func testRecord(name string) *Record {
	return &Record{
		Version: RecordVersion, ID: NewID(), Name: name, Created: time.Now(), AutoRemove: true,
		Command: []string{"true"}, Rootfs: Rootfs{Path: "/srv/root"}, Runtime: Runtime{Name: "r", Path: "/r"},
		StopSignal: 15, StopTimeout: 10 * time.Second, Log: LogConfig{Driver: "none"},
	}
}

// someFiles is how many files fillSome makes: enough for a removal to take a
// while.
const someFiles = 20

func fillSome(dir string) error {
	for i := range someFiles {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// create makes a container and fails the test if it cannot.
func create(t *testing.T, s *Store, name string) *Record {
	t.Helper()
	r := testRecord(name)
	if err := s.Create(r, fillSome); err != nil {
		t.Fatal(err)
	}
	return r
}

// tree lists everything below the store's root that is no directory of the store's own.
func tree(t testing.TB, s *Store) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(s.root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch path {
		case s.root, s.containers(), s.names():
		default:
			rel, _ := filepath.Rel(s.root, path)
			list = append(list, rel)
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return list
}

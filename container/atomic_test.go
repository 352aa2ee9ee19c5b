package container

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, sync := range []bool{false, true} {
		for _, data := range []string{"long content", "short", ""} {
			if err := WriteFile(path, []byte(data), 0o640, sync); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != data {
				t.Fatalf("got %q, %v, want %q", got, err, data)
			}
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
				t.Fatalf("got mode %v, %v", st.Mode(), err)
			}
		}
	}
	// A reader that has the old file open keeps it.
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := WriteFile(path, []byte("new"), 0o600, false); err != nil {
		t.Fatal(err)
	}
	if st, err := old.Stat(); err != nil || st.Size() != 0 {
		t.Errorf("the old file was written to: %v %v", st.Size(), err)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "f"), nil, 0o600, false); !os.IsNotExist(unwrap(err)) {
		t.Errorf("into a missing directory: got %v", err)
	}
	// A rename that fails leaves nothing.
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "d"), nil, 0o600, false); err == nil {
		t.Error("over a directory: got no error")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left in the directory: %v %v", entries, err)
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		if _, ok := err.(*os.PathError); ok {
			return err
		}
		err = u.Unwrap()
	}
}

func TestWriteFileAgainstReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(i int) {
		data := bytes.Repeat([]byte{byte('a' + i%26)}, 1+i%9*5000)
		if err := WriteFile(path, data, 0o600, false); err != nil {
			t.Error(err)
		}
	}
	write(0)
	i := 0
	read := func() {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		if len(data) == 0 || len(data)%5000 != 1 || bytes.Count(data, data[:1]) != len(data) {
			t.Errorf("read %d bytes that nobody wrote so", len(data))
		}
	}
	for rounds := 0; i < 10; rounds++ { // a busy machine takes more than one
		if rounds == 50 {
			t.Fatalf("only %d writes", i)
		}
		against(t, func() { i++; write(i) }, read, read)
	}
}

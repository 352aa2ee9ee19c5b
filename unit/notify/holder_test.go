package notify

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// stored plays the manager: the socket that NOTIFY_SOCKET would name, and what
// is put into the store through it.
func stored(t *testing.T, do func(Manager)) []*os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	do(Manager{path})
	var files []*os.File
	for {
		buf, oob := make([]byte, 1000), make([]byte, 1000)
		_, on, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return files
		}
		cmsgs, _ := unix.ParseSocketControlMessage(oob[:on])
		for i := range cmsgs {
			fds, _ := unix.ParseUnixRights(&cmsgs[i])
			for _, fd := range fds {
				files = append(files, os.NewFile(uintptr(fd), "stored"))
			}
		}
	}
}

func dup(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// What is held comes back as often as somebody asks, and more can be added by
// each of them. With the socket in the store it ends.
func TestHolder(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in := stored(t, func(m Manager) {
		h, err := m.Hold("held")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Keep("one", r, w); err != nil {
			t.Fatal(err)
		}
		h.Close() // its process is killed
	})
	if len(in) != 1 {
		t.Fatalf("%d descriptors are in the store, want 1", len(in))
	}
	w.Close()
	for i, names := range [][]string{{"one", "one"}, {"one", "one", "more"}, {"one", "one", "more", "more"}} {
		h, files, err := Held(dup(t, in[0]))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != len(names) {
			t.Fatalf("time %d: %d files, want %v", i, len(files), names)
		}
		for j, f := range files {
			if f.Name() != names[j] {
				t.Errorf("time %d: file %d is %q, want %q", i, j, f.Name(), names[j])
			}
		}
		if _, err := files[1].WriteString("x"); err != nil {
			t.Error(err)
		}
		if err := h.Keep("more", files[0]); err != nil {
			t.Error(err)
		}
		h.Close()
		for _, f := range files {
			f.Close()
		}
	}
	in[0].Close()
	// The pipe has no writer any more.
	if got, err := io.ReadAll(r); err != nil || string(got) != "xxx" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestHolderBad(t *testing.T) {
	if _, err := (Manager{}).Hold("held"); !errors.Is(err, ErrNoManager) {
		t.Errorf("without a manager: %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Held(null); err == nil {
		t.Error("a device is no holder")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
	defer a.Close()
	a.WriteString("no descriptor")
	if _, _, err := Held(b); err == nil {
		t.Error("a message without descriptors is none of a holder's")
	}
	in := stored(t, func(m Manager) {
		h, err := m.Hold("held")
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "a:b", "a\n"} {
			if err := h.Keep(bad, a); err == nil {
				t.Errorf("name %q was taken", bad)
			}
		}
		if err := h.Keep("none"); err == nil {
			t.Error("nothing was held")
		}
	})
	if _, files, err := Held(in[0]); err != nil || len(files) != 0 {
		t.Errorf("got %v, %v", files, err)
	}
}

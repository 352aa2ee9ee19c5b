package image

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary run with IMAGE_TEST_PULL set is a process that pulls.
func TestMain(m *testing.M) {
	if ref := os.Getenv("IMAGE_TEST_PULL"); ref != "" {
		os.Exit(pullProcess(ref))
	}
	os.Exit(m.Run())
}

func pullProcess(ref string) int {
	root := os.Getenv("IMAGE_TEST_ROOT")
	if size := os.Getenv("IMAGE_TEST_TMPFS"); size != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Println(err)
			return 3
		}
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size="+size); err != nil {
			fmt.Println(err)
			return 3
		}
	}
	s, err := Open(root, &Options{Rootless: os.Geteuid() != 0})
	if err == nil {
		_, err = s.Pull(context.Background(), ref, nil)
	}
	if err != nil {
		fmt.Println(err)
		if entries, _ := os.ReadDir(filepath.Join(root, "tmp")); len(entries) > 0 {
			fmt.Println("left in tmp/:", entries)
		}
		return 1
	}
	return 0
}

func pullCommand(t testing.TB, root, ref string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "IMAGE_TEST_PULL="+ref, "IMAGE_TEST_ROOT="+root)
	return cmd
}

func processImage(t testing.TB) *testImage {
	var layers []testLayer
	for i := range 6 {
		entries := []string{fmt.Sprintf("d%d/", i)}
		for j := range 40 {
			entries = append(entries, fmt.Sprintf("d%d/f%d=%s", i, j, noise(5000, uint64(100*i+j))))
		}
		layers = append(layers, layerOf(t, entries...))
	}
	layers = append(layers, layerOf(t, "d0/implicit=1", "new/implicit=1"))
	return newTestImage(t, layers...)
}

// TestKilled: pulls are killed at any moment, and the next one completes,
// with what the killed ones had.
func TestKilled(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	img := processImage(t)
	ref := f.add(img, "repo", "1")
	f.onBlob(func(w http.ResponseWriter, r *http.Request, data []byte, _ int) bool {
		w = slowWriter{w}
		sendRange(w, r, data, true)
		return true
	})
	for i := range 12 {
		cmd := pullCommand(t, s.Root(), ref)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+rand.IntN(25*(i+1))) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if _, err := s.List(); err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
	}
	f.onBlob(nil)
	if _, err := s.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	got := checkImage(t, s, ref, img)
	for i := range 6 {
		for j := range 40 {
			name := filepath.Join(got.Layers[i].Dir, fmt.Sprintf("d%d/f%d", i, j))
			if data, err := os.ReadFile(name); err != nil || string(data) != noise(5000, uint64(100*i+j)) {
				t.Fatalf("%s: %d bytes, %v", name, len(data), err)
			}
		}
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkClean(t, s)
	checkImage(t, s, ref, img)
}

// slowWriter sends about a megabyte a second.
type slowWriter struct{ http.ResponseWriter }

func (w slowWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		k, err := w.ResponseWriter.Write(p[:min(len(p), 16<<10)])
		n += k
		if err != nil {
			return n, err
		}
		w.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(15 * time.Millisecond)
		p = p[k:]
	}
	return n, nil
}

// TestTwoProcesses: pulls of one image at once share the work.
func TestTwoProcesses(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	img := processImage(t)
	ref := f.add(img, "repo", "1")
	f.onBlob(func(w http.ResponseWriter, r *http.Request, data []byte, _ int) bool {
		sendRange(slowWriter{w}, r, data, true)
		return true
	})
	var cmds []*exec.Cmd
	var outs []*strings.Builder
	for range 3 {
		cmd, out := pullCommand(t, s.Root(), ref), &strings.Builder{}
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("pull %d: %v: %s", i, err, outs[i])
		}
	}
	checkImage(t, s, ref, img)
	checkClean(t, s)
	for _, l := range img.layers {
		if n := f.count("blobs/" + l.digest().String()); n != 1 {
			t.Errorf("layer %s fetched %d times", l.digest(), n)
		}
	}
}

// TestDiskFull: one line that says so, and nothing left behind.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	noAuthFiles(t)
	f := newFakeRegistry(t)
	ref := f.add(newTestImage(t, layerOf(t, "small=1"), layerOf(t, "big="+noise(3<<20, 9))), "repo", "1")
	for _, size := range []string{"1m", "3m", "5m"} {
		cmd := pullCommand(t, t.TempDir(), ref)
		cmd.Env = append(cmd.Env, "IMAGE_TEST_TMPFS="+size)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.Output()
		if err == nil || !strings.Contains(string(out), "no space left on device in the file system of") {
			t.Errorf("%s: %v: %s", size, err, out)
		}
		if strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %s", size, out)
		}
	}
}

// TestReadWhileWriting: a reader without locks sees every image or none.
func TestReadWhileWriting(t *testing.T) {
	s := openTest(t)
	name := putImage(t, s, "docker.io/library/a:1", newTestImage(t, layerOf(t, "a=1")))
	stop := make(chan struct{})
	done := make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := s.Tag(name, fmt.Sprintf("b:%d", i%50)); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 500 {
		if _, err := s.Resolve(name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.List(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

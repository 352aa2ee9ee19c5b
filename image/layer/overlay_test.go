package layer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestOverlay mounts layers with the real overlayfs, in a mount namespace of
// its own, and looks at what a container would see.
func TestOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts overlayfs")
	}
	if dirs := os.Getenv("LAYER_TEST_OVERLAY"); dirs != "" {
		t.Run("inside", func(t *testing.T) { overlayInside(t, dirs) })
		return
	}
	base, _, err := apply(t, pack(t, dir("d"), file("d/a"), file("d/b"), dir("o"), file("o/a"), file("x"), dir("r"), file("r/old"), dir("y"), file("y/a")))
	if err != nil {
		t.Fatal(err)
	}
	top, _, err := apply(t, pack(t, dir("d"), file("d/.wh.a"), dir("o"), file("o/b"), file("o/.wh..wh..opq"), file(".wh.x"),
		dir("r"), file("r/new"), file(".wh.r"), file(".wh.y"), dir("y"), file("y/b")))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOverlay$", "-test.v")
	cmd.Env = append(os.Environ(), "LAYER_TEST_OVERLAY="+top+":"+base, "LAYER_TEST_TMP="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOverlay/inside") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func overlayInside(t *testing.T, dirs string) {
	merged := filepath.Join(os.Getenv("LAYER_TEST_TMP"), "merged")
	if err := os.Mkdir(merged, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, "lowerdir="+dirs); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(merged, unix.MNT_DETACH) //nolint:errcheck // the namespace goes anyway
	want := []string{"d d", "f d/b=d/b", "d o", "f o/b=o/b", "d r", "f r/new=r/new", "d y", "f y/b=y/b"}
	got := tree(t, merged)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("merged (-want +got):\n%s", d)
	}
}

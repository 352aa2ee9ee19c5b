package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv says that this process is the one in the namespaces that the tests
// with root run in; its value is the folder with the binaries under test.
const insideEnv = "BERTH_RUNTIME_TEST_INSIDE"

// TestMain runs the tests that need root in a mount namespace and a cgroup of
// their own, where cgroup v2 is at /sys/fs/cgroup whatever the host does, and
// looks for what they left behind.
func TestMain(m *testing.M) {
	if name := os.Getenv(attackEnv); name != "" {
		os.Exit(attack(name))
	}
	if os.Getenv(insideEnv) == "" && os.Getuid() == 0 && !fuzzing() {
		os.Exit(outside())
	}
	if os.Getenv(insideEnv) == "" {
		os.Exit(m.Run())
	}
	if err := inside(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
		os.Exit(1)
	}
	before := holdings()
	status := m.Run()
	if status == 0 {
		status = checkLeaks(before)
	}
	os.Exit(status)
}

// fuzzing says that this is one of the fuzzer's processes, which talk by
// descriptors that would not survive.
func fuzzing() bool {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.fuzz") && !strings.HasPrefix(a, "-test.fuzzcachedir") {
			return true
		}
	}
	return false
}

// installed is where the runtime is in a lane, which has no Go.
const installed = "/usr/libexec/berth"

// build builds what is tested, as it is installed, below dir.
func build(dir string) error {
	for _, name := range []string{"berth-runtime", "berth-runtime-full", "berth-init"} {
		tags := "lean"
		if strings.HasSuffix(name, "-full") {
			tags = ""
		}
		cmd := exec.Command("go", "build", "-tags", tags, "-o", filepath.Join(dir, name), "../cmd/"+strings.TrimSuffix(name, "-full"))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// outside builds the runtime, makes a cgroup and starts this binary again in it.
func outside() int {
	dir, err := os.MkdirTemp("", "berth-runtime-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	temp := dir
	defer os.RemoveAll(temp)
	if _, err := exec.LookPath("go"); err != nil {
		dir = installed
	} else if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	mount := cgroupMount()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if mount != "" {
		own, err := ownCgroup()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		mine := filepath.Join(mount, "berth-runtime-test-"+strconv.Itoa(os.Getpid()))
		if err := enterCgroup(mine); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() {
			if err := enterCgroup(filepath.Join(mount, own)); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			for range 50 {
				if removeTree(mine) == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			fmt.Fprintln(os.Stderr, "left behind: cgroup", mine)
		}()
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWCGROUP
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func enterCgroup(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644)
}

// inside prepares the namespaces.
func inside() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// Also where it is cgroup2 already: this one begins at our cgroup.
	if err := unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH); err != nil && err != unix.EINVAL {
		return fmt.Errorf("unmount cgroups: %w", err)
	}
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mount cgroups: %w", err)
	}
	return enterCgroup("/sys/fs/cgroup/tests")
}

// holdings is what a process could leak: descriptors, children, mounts, cgroups.
func holdings() map[string]int {
	h := make(map[string]int)
	fds, _ := os.ReadDir("/proc/self/fd")
	h["descriptors"] = len(fds)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	h["mounts"] = strings.Count(string(mounts), "\n")
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/")
	h["cgroups"] = len(groups)
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, t := range tasks {
		children, _ := os.ReadFile(t)
		h["children"] += len(strings.Fields(string(children)))
	}
	return h
}

// leaks says what there is more of than before.
func leaks(before map[string]int) []string {
	var list []string
	for what, n := range holdings() {
		if n > before[what] {
			list = append(list, fmt.Sprintf("%s: %d before, %d after", what, before[what], n))
		}
	}
	return list
}

func checkLeaks(before map[string]int) int {
	if leaked := leaks(before); len(leaked) > 0 {
		fmt.Fprintln(os.Stderr, "leaked "+strings.Join(leaked, ", "))
		return 1
	}
	return 0
}

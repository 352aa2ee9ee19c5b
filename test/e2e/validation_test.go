package e2e

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// validationDir has the OCI's validation programs (test/validation), in boxes.
const validationDir = "/usr/libexec/berth-validation"

//go:embed validation.txt
var validationList string

// knownFailure is a line of validation.txt.
type knownFailure struct {
	with   []string // short names of runtimes
	why    string
	always bool // on all machines
}

// knownFailures reads validation.txt: PROGRAM[?] RUNTIME[,RUNTIME...] WHY.
func knownFailures(t *testing.T) map[string]knownFailure {
	t.Helper()
	list := map[string]knownFailure{}
	for line := range strings.Lines(validationList) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 || list[f[0]].why != "" {
			t.Fatalf("validation.txt: bad line %q", line)
		}
		program, sometimes := strings.CutSuffix(f[0], "?")
		list[program] = knownFailure{strings.Split(f[1], ","), strings.Join(f[2:], " "), !sometimes}
	}
	return list
}

// ociRuntimes are the runtimes that clients and validation programs are run with: ours, and in Debian 13's box, which
// the expectations are of, the others.
func ociRuntimes(l Env) map[string]string {
	list := map[string]string{"berth": "/usr/libexec/berth/berth-runtime"}
	for _, name := range []string{"crun", "runc"} {
		if path, err := exec.LookPath(name); err == nil && l.Name == "box257" {
			list[name] = path
		}
	}
	return list
}

// TestValidation runs the OCI's own validation programs. They are older than the specification in places, and most that
// are about cgroups know version 1 only: validation.txt has those that fail, and why.
func TestValidation(t *testing.T) {
	l := Product(t)
	programs := glob(validationDir + "/*")
	if len(programs) == 0 {
		t.Skip("needs the validation programs: a box")
	}
	programs = slices.DeleteFunc(programs, func(p string) bool {
		return filepath.Base(p) == "runtimetest" || strings.HasPrefix(filepath.Base(p), "rootfs-")
	})
	known := knownFailures(t)
	runtimes := ociRuntimes(l)
	for _, name := range slices.Sorted(maps.Keys(runtimes)) {
		t.Run(name, func(t *testing.T) {
			tries := func(p string) int {
				if slices.Contains(known[filepath.Base(p)].with, name) {
					return 1
				}
				return 3 // some do not wait until their container's program is ready
			}
			results := validateAll(t, programs, runtimes[name], tries)
			var passed, failed, asKnown int
			for i, p := range programs {
				t.Run(filepath.Base(p), func(t *testing.T) {
					err, known := results[i], known[filepath.Base(p)]
					expected := slices.Contains(known.with, name)
					switch {
					case err == nil && expected && known.always && name == "berth":
						failed++
						t.Errorf("passes: strike it from validation.txt, which says %q", known.why)
					case err == nil:
						passed++
					case expected:
						asKnown++
						t.Skipf("fails with %s: %s", strings.Join(known.with, ", "), known.why)
					default:
						failed++
						t.Error(err)
					}
				})
			}
			t.Logf("count: validation programs with %s: %d passed, %d failed, %d failed as expected", name, passed, failed, asKnown)
		})
	}
}

// validateAll runs programs beside each other, since they mostly sleep, but those of cgroups, which share names.
func validateAll(t *testing.T, programs []string, runtime string, tries func(program string) int) []error {
	t.Helper()
	dir := openTempDir(t)
	results := make([]error, len(programs))
	var beside sync.WaitGroup
	places := make(chan struct{}, 8)
	var alone []int
	for i, p := range programs {
		if strings.Contains(p, "cgroups") || strings.Contains(p, "resources") {
			alone = append(alone, i)
			continue
		}
		beside.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			results[i] = validate(p, runtime, dir, tries(p))
		})
	}
	beside.Wait()
	for _, i := range alone {
		results[i] = validate(programs[i], runtime, dir, tries(programs[i]))
	}
	return results
}

func validate(program, runtime, tmp string, tries int) (err error) {
	for range tries {
		if err = validateOnce(program, runtime, tmp); err == nil {
			return nil
		}
	}
	return err
}

// validateOnce judges a program by what it says in TAP and by its exit status. Some report an error without a test point.
func validateOnce(program, runtime, tmp string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir = validationDir
	cmd.Env = append(os.Environ(), "RUNTIME="+runtime, "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	points := 0
	var wrong []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		todo := strings.Contains(line, "# TODO") || strings.Contains(line, "# SKIP")
		switch {
		case strings.HasPrefix(line, "not ok") && !todo:
			wrong = append(wrong, line)
		case strings.HasPrefix(line, "ok"), strings.HasPrefix(line, "not ok"):
			points++
		}
	}
	if points == 0 && len(wrong) == 0 && strings.Contains(out.String(), `"error":`) {
		wrong = append(wrong, out.String())
	}
	if err == nil && len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%v, %d ok\n%s\n%s", err, points, strings.Join(wrong, "\n"), clip(errOut.String()))
}

// openTempDir is a folder that users of a user namespace can look into. What is mounted below goes with it: a container
// without a mount namespace of its own leaves its mounts behind.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "validation")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		points := mountPoints()
		slices.Reverse(points)
		for _, p := range points {
			if p, _, _ := strings.Cut(p, " "); strings.HasPrefix(p, dir) {
				_ = unix.Unmount(p, unix.MNT_DETACH)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

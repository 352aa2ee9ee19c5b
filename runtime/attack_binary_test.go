package runtime

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestAttackOwnBinary makes the runtime execute itself in the container, by a
// command, an interpreter, a loader that is /proc/self/exe, to open it for
// writing once it has ended (CVE-2019-5736).
//
// Seen to succeed with becomeFile left out: the waiting init's exe was the
// runtime, which could be held open and written to when it had been executed.
func TestAttackOwnBinary(t *testing.T) {
	s := ours(t)
	s.binaryUnharmed(t)
	id := s.id(t)
	// Holds what /proc/1/exe is while the init waits, and writes when it can.
	hold := `exec 9</proc/1/exe; for i in 1 2 3 4 5 6 7 8 9 10; do
		for f in /proc/1/exe /proc/self/fd/9 /proc/$$/fd/9; do { echo pwned >$f; } 2>/dev/null; done; sleep 0.02; done; readlink /proc/$$/fd/9`
	b := bundle(t, func(c *specs.Spec) {
		c.Root.Readonly = false
		allCaps(c.Process)
	}, "/bin/copy", "sleep", "60")
	bb, err := os.ReadFile(b + "/rootfs/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	// The init's program is another file, since it is going to be overwritten.
	if err := os.WriteFile(b+"/rootfs/bin/copy", bb, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"script": "#!/proc/self/exe\n", "script1": "#!/proc/1/exe\n", "script2": "#!/proc/thread-self/exe --version\n"} {
		if err := os.WriteFile(b+"/rootfs/bin/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/proc/self/exe", b+"/rootfs/bin/self"); err != nil {
		t.Fatal(err)
	}
	s.must(t, "create", "--bundle", b, id)
	if r := s.run(t, "exec", id, "sh", "-c", hold); strings.Contains(r.out, "berth-runtime") || strings.TrimSpace(r.out) != "/bin/copy" {
		t.Errorf("holding the waiting init's binary: %s", r)
	}
	if exe, err := os.Readlink("/proc/" + itoa(s.state(t, id).Pid) + "/exe"); err != nil || strings.Contains(exe, "berth-runtime") {
		t.Errorf("the waiting init is %s: %v", exe, err)
	}
	for _, name := range []string{"/bin/self", "/bin/script", "/bin/script1", "/bin/script2", "/proc/self/exe", "/proc/1/exe", "/proc/self/fd/3"} {
		if r := s.run(t, "exec", id, name, "--version"); strings.Contains(r.out, "berth-runtime version") {
			t.Errorf("%s ran the runtime in the container: %s", name, r)
		}
	}
	// A program that cannot be read is no way to keep it: its loader, or a
	// link into nothing.
	for _, args := range [][]string{{"/proc/self/exe", "--version"}, {"/bin/self", "--version"}, {"/bin/script"}} {
		r := s.run(t, "run", "--bundle", bundle(t, func(c *specs.Spec) {
			c.Process.Args = args
			c.Mounts = append(c.Mounts, bindTo("/bin", b+"/rootfs/bin"))
		}), s.id(t)+"x")
		if strings.Contains(r.out, "berth-runtime version") {
			t.Errorf("%q ran the runtime in the container: %s", args, r)
		}
	}
}

package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// apparmorProfile loads a profile that forbids writing to /tmp.
func apparmorProfile(t *testing.T, name string) {
	t.Helper()
	if !apparmorEnabled() {
		t.Skip("this kernel has no AppArmor")
	}
	file := filepath.Join(t.TempDir(), "profile")
	os.WriteFile(file, []byte("profile "+name+` flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, mount, umount, signal, ptrace, pivot_root, unix,
  deny /tmp/** w,
}
`), 0o644)
	if out, err := exec.Command("apparmor_parser", "-Kr", file).CombinedOutput(); err != nil {
		t.Skipf("needs apparmor_parser: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("apparmor_parser", "-R", file).Run() })
}

func TestApparmor(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		apparmorProfile(t, "berth-test")
		id := s.id(t)
		b := bundle(t, func(c *specs.Spec) {
			c.Root.Readonly = false
			c.Process.ApparmorProfile = "berth-test"
		}, "sh", "-c", "touch /tmp/x; sleep 60")
		s.must(t, "run", "-d", "--bundle", b, id)
		r := s.run(t, "exec", id, "sh", "-c", "cat /proc/1/attr/current /proc/self/attr/current; touch /tmp/x 2>/dev/null || echo refused")
		r.want(t, "berth-test (enforce)\nberth-test (enforce)\nrefused")
		if _, err := os.Stat(b + "/rootfs/tmp/x"); err == nil {
			t.Error("the init has written what it may not")
		}
		b = bundle(t, func(c *specs.Spec) { c.Process.ApparmorProfile = "no-such-profile"; c.Linux.CgroupsPath += "-2" }, "true")
		if r := s.run(t, "run", "--bundle", b, id+"2"); r.status == 0 || s.name == "berth" && !strings.Contains(r.err, "set AppArmor profile no-such-profile") {
			t.Error(r)
		}
	})
}

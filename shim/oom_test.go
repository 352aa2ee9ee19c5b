package shim

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// What the supervisor is spared its children are not.
func TestOOMScore(t *testing.T) {
	read := func() string {
		data, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	before := read()
	kids := newReaper()
	kids.oom = spare()
	if kids.oom == nil {
		t.Skip("needs CAP_SYS_RESOURCE")
	}
	defer func() {
		kids.oom.set(kids.oom.own)
		kids.oom.file.Close()
	}()
	if got := read(); got != lastToDie {
		t.Errorf("own score %s, want %s", got, lastToDie)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir() + "/out"
	done, err := kids.start([]string{sh, "-c", "cat /proc/self/oom_score_adj >" + out}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		kids.reap()
		select {
		case <-done:
			if data, err := os.ReadFile(out); err != nil || strings.TrimSpace(string(data)) != before {
				t.Errorf("a child's score %q, %v, want %s", data, err, before)
			}
			if got := read(); got != lastToDie {
				t.Errorf("own score %s after a child was started", got)
			}
			return
		default:
		}
	}
}

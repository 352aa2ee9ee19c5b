package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestLineKeepsArguments(t *testing.T) {
	args := []string{"printf", "<%s>", "", "two words", `it's`, `$HOME "x" \ *`, "a\nb"}
	out, err := exec.Command("bash", "-c", line(args, nil)).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, a := range args[2:] {
		want += "<" + a + ">"
	}
	if string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestLineTellsHowItEnded(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 42": 42, "kill -9 $$": 137, "kill -TERM $$": 143} {
		err := exec.Command("bash", "-c", line([]string{"sh", "-c", script}, []string{"A=b c"})).Run()
		got := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			got = exit.ExitCode()
		}
		if got != want {
			t.Errorf("%s: status %d, want %d", script, got, want)
		}
	}
}

func TestUnpackLineNamesTheCopy(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "f"), []byte("data"), 0o640); err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir()
	for to, want := range map[string]string{dst: "f", filepath.Join(dst, "new name"): "new name"} {
		script := "tar -c -C " + quote(src) + " f | { " + unpackLine("f", to) + "; }"
		if out, err := exec.Command("bash", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if data, err := os.ReadFile(filepath.Join(dst, want)); err != nil || string(data) != "data" {
			t.Errorf("copy to %s: %q, %v", to, data, err)
		}
	}
	entries, err := os.ReadDir(dst)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries (%v), want 2: %v", len(entries), err, entries)
	}
}

func TestDiskHoldsItsTree(t *testing.T) {
	if _, err := exec.LookPath("/sbin/mke2fs"); err != nil {
		t.Skip("needs mke2fs: ", err)
	}
	tree, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	for i := range 300 {
		name := filepath.Join(tree, strings.Repeat("x", 1+i%200)+string(rune('a'+i/200)))
		if err := os.WriteFile(name, make([]byte, i*1000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	size, err := diskSize(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := makeDisk(t.Context(), tree, image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/sbin/e2fsck", "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v: %s", err, out)
	}
}

func TestKernelWantsATreeForVMs(t *testing.T) {
	if _, _, err := kernel(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a tree for a VM") {
		t.Errorf("error %v", err)
	}
}

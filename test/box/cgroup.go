package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// execLeaf is where commands run that are brought in from outside. systemd reads it as the cgroup of a unit it does
// not know, box.scope in user.slice, and leaves it alone: like a login, and no slower than a fork.
const execLeaf = "user.slice/box.scope"

// cgroupRoot finds the cgroup2 hierarchy: /sys/fs/cgroup on most machines, /sys/fs/cgroup/unified where the
// controllers are on version 1.
func cgroupRoot() (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		mount, super, ok := strings.Cut(line, " - ")
		if ok && strings.HasPrefix(super, "cgroup2 ") {
			return strings.Fields(mount)[4], nil
		}
	}
	return "", errors.New("no cgroup2 is mounted on this machine")
}

func makeCgroup(name string) (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "berth-box-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	return dir, nil
}

// killCgroup kills everything below dir, waits until it is gone and removes the tree.
func killCgroup(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err != nil {
			return err
		}
		if strings.Contains(string(events), "populated 0") {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: processes survive SIGKILL", dir)
		}
	}
	return removeCgroup(dir)
}

// removeCgroup removes the directories of a tree without processes, the deepest first. A cgroup may be busy for a
// moment after its last process has been reaped.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for range 200 {
		if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// kill ends a box, or what is left of one, and removes every trace of it.
func kill(name string) error {
	if !nameRule.MatchString(name) {
		return errNoBox
	}
	b := &box{Name: name}
	if _, err := os.Stat(b.dir()); errors.Is(err, fs.ErrNotExist) {
		return errNoBox
	}
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	// Not from box.json: that may be missing or half made, and the name says it all.
	if err := killCgroup(filepath.Join(root, "berth-box-"+name)); err != nil {
		return err
	}
	return os.RemoveAll(b.dir())
}

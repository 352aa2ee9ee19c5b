package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// box is what is known of a box outside it, kept as box.json in its folder.
type box struct {
	Name    string
	Rootfs  string
	Layers  []string `json:",omitempty"`
	Binds   []bind   `json:",omitempty"`
	Disk    bool     `json:",omitempty"`
	Memory  string
	Cgroup  string // absolute path in the machine's cgroup2 mount
	Pid     int    // PID 1 of the box, as the machine sees it
	Started string // start time of Pid from /proc/PID/stat: a pid alone may have been used again
	Booted  time.Time
}

// bind is a path of the machine that shows up in the box.
type bind struct {
	Src, Dst string
	ReadOnly bool `json:",omitempty"`
}

var (
	errNoBox  = errors.New("no such box")
	errExists = errors.New("exists already")
	nameRule  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
)

func stateDir() string {
	if d := os.Getenv("BERTH_BOX_DIR"); d != "" {
		return d
	}
	return "/var/tmp/berth-box"
}

// dir joins elem to the box's folder.
func (b *box) dir(elem ...string) string {
	return filepath.Join(append([]string{stateDir(), b.Name}, elem...)...)
}

// create makes the box's folder; that it must not exist is what keeps two boots of one name apart.
func (b *box) create() error {
	if !nameRule.MatchString(b.Name) {
		return fmt.Errorf("bad name %q: want lower case letters, digits and dashes", b.Name)
	}
	if err := os.MkdirAll(stateDir(), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(b.dir(), 0o755); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("box %s: %w (box kill %s removes it)", b.Name, errExists, b.Name)
	} else if err != nil {
		return err
	}
	return b.save()
}

func (b *box) save() error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	tmp := b.dir("box.json.tmp")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, b.dir("box.json"))
}

func load(name string) (*box, error) {
	b := &box{Name: name}
	if !nameRule.MatchString(name) {
		return nil, fmt.Errorf("box %q: %w", name, errNoBox)
	}
	data, err := os.ReadFile(b.dir("box.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("box %s: %w", name, errNoBox)
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", b.dir("box.json"), err)
	}
	return b, nil
}

func boxes() ([]string, error) {
	entries, err := os.ReadDir(stateDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (b *box) alive() bool {
	started, err := startTime(b.Pid)
	return err == nil && started == b.Started
}

// startTime is field 22 of /proc/PID/stat, counted after the command's name, which may contain anything.
func startTime(pid int) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read stat of pid %d: %d fields", pid, len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("pid %d is dead", pid)
	}
	return fields[19], nil
}

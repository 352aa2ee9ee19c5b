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

	"golang.org/x/sys/unix"
)

// machine is what is known of a VM, kept as vm.json in its folder.
type machine struct {
	Name   string
	Tree   string   // directory that its disk was made of
	Layers []string `json:",omitempty"`
	Port   int      // of the machine's loopback, leads to sshd
	Pid    int      // of qemu
	Booted time.Time
}

var (
	errNoVM  = errors.New("no such VM")
	nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
)

func stateDir() string {
	if d := os.Getenv("BERTH_VM_DIR"); d != "" {
		return d
	}
	return "/var/tmp/berth-vm"
}

func cacheDir(elem ...string) string {
	d := os.Getenv("BERTH_CACHE")
	if d == "" {
		d = "/var/cache/berth-test"
	}
	return filepath.Join(append([]string{d}, elem...)...)
}

func (m *machine) dir(elem ...string) string {
	return filepath.Join(append([]string{stateDir(), m.Name}, elem...)...)
}

// create makes the VM's folder; that it must not exist is what keeps two boots of one name apart.
func (m *machine) create() error {
	if !nameRule.MatchString(m.Name) {
		return fmt.Errorf("bad name %q: want lower case letters, digits and dashes", m.Name)
	}
	if err := os.MkdirAll(stateDir(), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(m.dir(), 0o700); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("vm %s: exists already (vm kill %s removes it)", m.Name, m.Name)
	} else if err != nil {
		return err
	}
	return m.save()
}

func (m *machine) save() error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp := m.dir("vm.json.tmp")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, m.dir("vm.json"))
}

func load(name string) (*machine, error) {
	m := &machine{Name: name}
	if !nameRule.MatchString(name) {
		return nil, fmt.Errorf("vm %q: %w", name, errNoVM)
	}
	data, err := os.ReadFile(m.dir("vm.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("vm %s: %w", name, errNoVM)
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read %s: %w", m.dir("vm.json"), err)
	}
	return m, nil
}

func machines() ([]string, error) {
	entries, err := os.ReadDir(stateDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// alive looks at the command line, which names the VM's own disk: a pid alone may have been used again.
func (m *machine) alive() bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(m.Pid) + "/cmdline")
	return m.Pid > 0 && err == nil && strings.Contains(string(data), m.dir("disk.qcow2"))
}

// kill ends a VM, or what is left of one, and removes its folder.
func kill(name string) error {
	m, err := load(name)
	if errors.Is(err, errNoVM) && nameRule.MatchString(name) {
		m = &machine{Name: name}
		if _, statErr := os.Stat(m.dir()); statErr != nil {
			return errNoVM
		}
	} else if err != nil {
		return err
	}
	m.closeConnection()
	if err := m.killQemu(); err != nil {
		return err
	}
	return os.RemoveAll(m.dir())
}

func (m *machine) killQemu() error {
	pidfd, err := unix.PidfdOpen(m.Pid, 0)
	if err != nil { // no such process, or none was ever started
		return nil
	}
	defer unix.Close(pidfd)
	if !m.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill qemu: %w", err)
	}
	// A pidfd is readable once the process has ended, whoever reaps it.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 10_000); err != nil || n == 0 {
		return fmt.Errorf("qemu %d survives SIGKILL: %v", m.Pid, err)
	}
	return nil
}

package runtime

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/internal/ocijson"
)

// maxConfig bounds a configuration file; Docker's are about 15 kB.
const maxConfig = 32 << 20

// LoadSpec parses and checks a config.json.
func LoadSpec(b []byte) (*specs.Spec, error) {
	if len(b) > maxConfig {
		return nil, errors.New("parse config.json: file too large")
	}
	s, err := ocijson.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("parse config.json: %w", err)
	}
	if err := checkSpec(s); err != nil {
		return nil, fmt.Errorf("check config.json: %w", err)
	}
	return s, nil
}

func checkSpec(s *specs.Spec) error {
	if s.Version != "" && !strings.HasPrefix(s.Version, "1.") {
		return fmt.Errorf("ociVersion %q: only version 1 is known", s.Version)
	}
	if s.Root == nil || s.Root.Path == "" {
		return errors.New("root.path must be set")
	}
	if s.Linux == nil {
		s.Linux = new(specs.Linux)
	}
	if s.Process == nil {
		return errors.New("process must be set")
	}
	if err := checkProcess(s.Process); err != nil {
		return err
	}
	if strings.ContainsRune(s.Hostname+s.Domainname+s.Root.Path+s.Linux.CgroupsPath, 0) {
		return errors.New("a string contains a NUL byte")
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if m.Destination == "" {
			return fmt.Errorf("mounts[%d]: destination must be set", i)
		}
		// Version 1.0 allowed relative destinations, below the root.
		if !strings.HasPrefix(m.Destination, "/") {
			m.Destination = "/" + m.Destination
		}
		if strings.ContainsRune(m.Destination+m.Source+m.Type+strings.Join(m.Options, ""), 0) {
			return fmt.Errorf("mounts[%d]: a string contains a NUL byte", i)
		}
	}
	for name := range s.Linux.Sysctl {
		if name == "" || strings.ContainsRune(name, 0) {
			return fmt.Errorf("sysctl %q: not a name", name)
		}
	}
	for i, d := range s.Linux.Devices {
		if !strings.HasPrefix(d.Path, "/") || strings.ContainsRune(d.Path, 0) {
			return fmt.Errorf("linux.devices[%d]: path must be absolute", i)
		}
	}
	if p := s.Linux.RootfsPropagation; p != "" {
		if _, _, ok := rootPropagation(p); !ok {
			return fmt.Errorf("rootfsPropagation %q: unknown", p)
		}
	}
	if err := checkNotify(s.Linux.Seccomp); err != nil {
		return err
	}
	if err := checkHooks(s.Hooks); err != nil {
		return err
	}
	if err := checkDevices(s); err != nil {
		return err
	}
	if err := checkTime(s); err != nil {
		return err
	}
	return checkNamespaces(s)
}

func checkNamespaces(s *specs.Spec) error {
	seen := make(map[specs.LinuxNamespaceType]bool, 8)
	for _, ns := range s.Linux.Namespaces {
		if cloneFlags[ns.Type] == 0 {
			return fmt.Errorf("namespace %q: unknown type", ns.Type)
		}
		if seen[ns.Type] {
			return fmt.Errorf("namespace %q: given twice", ns.Type)
		}
		seen[ns.Type] = true
		if ns.Path != "" && (!filepath.IsAbs(ns.Path) || strings.ContainsRune(ns.Path, 0)) {
			return fmt.Errorf("namespace %q: path must be absolute", ns.Type)
		}
	}
	user := seen[specs.UserNamespace]
	if !user && (len(s.Linux.UIDMappings) > 0 || len(s.Linux.GIDMappings) > 0) {
		return errors.New("uid and gid mappings need a user namespace")
	}
	if s.Hostname != "" && !seen[specs.UTSNamespace] {
		return errors.New("hostname needs a uts namespace")
	}
	if s.Domainname != "" && !seen[specs.UTSNamespace] {
		return errors.New("domainname needs a uts namespace")
	}
	return nil
}

// checkProcess checks what a process is described by, in config.json and for exec.
func checkProcess(p *specs.Process) error {
	if len(p.Args) == 0 {
		return errors.New("process.args must not be empty")
	}
	if !strings.HasPrefix(p.Cwd, "/") {
		return errors.New("process.cwd must be an absolute path")
	}
	for _, list := range [][]string{p.Args, p.Env, {p.Cwd}} {
		for _, v := range list {
			if strings.ContainsRune(v, 0) {
				return errors.New("process: a string contains a NUL byte")
			}
		}
	}
	for _, id := range append([]uint32{p.User.UID, p.User.GID}, p.User.AdditionalGids...) {
		if id == ^uint32(0) {
			// To setresuid that is "leave it as it is": root.
			return errors.New("process.user: 4294967295 is not an id")
		}
	}
	if strings.ContainsRune(p.ApparmorProfile+p.SelinuxLabel, 0) {
		return errors.New("process: a string contains a NUL byte")
	}
	if err := checkScheduling(p); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	for _, r := range p.Rlimits {
		if _, ok := rlimits[r.Type]; !ok {
			return fmt.Errorf("rlimit %q: unknown type", r.Type)
		}
	}
	return nil
}

// stringBytes is about what the strings of a process take in a program.
func stringBytes(p *specs.Process) int {
	n := 4096
	for _, v := range p.Args {
		n += len(v) + 32
	}
	for _, v := range p.Env {
		n += len(v) + 32
	}
	return n + 8*len(p.User.AdditionalGids)
}

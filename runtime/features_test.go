package runtime

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// What features says is known, is.
func TestFeatures(t *testing.T) {
	f := Features()
	for _, o := range f.MountOptions {
		if m := parseMountOptions(&specs.Mount{Options: []string{o}}); len(m.data) > 0 {
			t.Errorf("mount option %s is told to the file system", o)
		}
	}
	for _, o := range []string{"size=1", "nr_inodes=2", "hidepid=2", "rsize"} {
		if slices.Contains(f.MountOptions, o) {
			t.Errorf("mount option %s is no option of ours", o)
		}
		if m := parseMountOptions(&specs.Mount{Options: []string{o}}); len(m.data) != 1 {
			t.Errorf("mount option %s is not told to the file system", o)
		}
	}
	for _, n := range f.Linux.Namespaces {
		if cloneFlags[specs.LinuxNamespaceType(n)] == 0 {
			t.Errorf("namespace %s is unknown", n)
		}
	}
	if len(f.Linux.Namespaces) != len(cloneFlags) {
		t.Errorf("namespaces %v", f.Linux.Namespaces)
	}
	for i, c := range f.Linux.Capabilities {
		if capabilityBits([]string{c}) != 1<<i {
			t.Errorf("capability %s is unknown", c)
		}
	}
	s := f.Linux.Seccomp
	for _, arch := range s.Archs {
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.Arch(arch)}}
		for _, action := range s.Actions {
			for _, op := range s.Operators {
				profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.LinuxSeccompAction(action),
					Args: []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(op)}}})
			}
		}
		for _, flag := range s.SupportedFlags {
			profile.Flags = append(profile.Flags, specs.LinuxSeccompFlag(flag))
		}
		if _, _, err := compileSeccomp(profile); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
	}
	for _, flag := range s.SupportedFlags {
		if !slices.Contains(s.KnownFlags, flag) {
			t.Errorf("flag %s is supported and not known", flag)
		}
	}
	if !slices.Contains(s.SupportedFlags, "SECCOMP_FILTER_FLAG_LOG") || supportsFilterFlag(1<<30) {
		t.Errorf("the kernel is said to support %v", s.SupportedFlags)
	}
	for _, m := range f.Linux.MemoryPolicy.Modes {
		q, err := newProgram(0)
		if err != nil {
			t.Fatal(err)
		}
		var flags []specs.MemoryPolicyFlagType
		for _, f := range f.Linux.MemoryPolicy.Flags {
			flags = append(flags, specs.MemoryPolicyFlagType(f))
		}
		if err := q.memoryPolicy(&specs.LinuxMemoryPolicy{Mode: specs.MemoryPolicyModeType(m), Flags: flags}); err != nil {
			t.Error(err)
		}
		q.close()
	}
	for _, version := range []string{f.OCIVersionMin, f.OCIVersionMax} {
		if _, err := LoadSpec([]byte(`{"ociVersion":"` + version + `","root":{"path":"x"},"process":{"args":["x"],"cwd":"/"}}`)); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestFeaturesVerb(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.needs(t, "features", "crun 1.9")
		var f features.Features
		if err := json.Unmarshal([]byte(s.must(t, "features").out), &f); err != nil {
			t.Fatal(err)
		}
		if f.OCIVersionMin == "" || f.OCIVersionMax == "" || len(f.Hooks) != 6 || f.Linux == nil || !*f.Linux.Seccomp.Enabled {
			t.Errorf("%+v", f)
		}
		for _, o := range []string{"ro", "rro", "rbind", "rslave", "tmpcopyup"} {
			if !slices.Contains(f.MountOptions, o) {
				t.Errorf("mount option %s is missing", o)
			}
		}
	})
}

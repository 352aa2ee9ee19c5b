package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// layout writes files below a directory that stands for the root and returns
// the three configuration directories.
func layout(t *testing.T, files map[string]string) (dirs []string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range directories {
		dirs = append(dirs, filepath.Join(root, d))
	}
	return dirs
}

func clearEnv(t *testing.T) {
	for _, name := range []string{"BERTH_ROOT", "BERTH_RUN", "BERTH_LIBEXEC"} {
		t.Setenv(name, "")
	}
}

func TestDefaults(t *testing.T) {
	clearEnv(t)
	got, err := load(layout(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("without files (-default +got):\n%s", diff)
	}
	if _, ok := got.Runtimes[got.Runtime]; !ok {
		t.Errorf("the default runtime %s has no path", got.Runtime)
	}
	// One configuration is not another's.
	got.Runtimes["mine"] = "/mine"
	if _, ok := Default().Runtimes["mine"]; ok {
		t.Error("two configurations share their runtimes")
	}
}

func TestEveryKey(t *testing.T) {
	c := Default()
	err := c.read(strings.NewReader(`
# a comment
; another one
[Engine]
Root=/srv/berth/
Run = /run/other
Runtime=crun
[Container]
LogDriver=k8s-file
PidsLimit=0
ShmSize=1048576
StopTimeout=1m30s
[Registries]
Insecure=one:5000  two
Insecure=three
[Runtimes]
mine=/usr/bin/mine
crun=/opt/crun
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Root, want.Run, want.Runtime = "/srv/berth", "/run/other", "crun"
	want.LogDriver, want.PidsLimit, want.ShmSize, want.StopTimeout = "k8s-file", 0, 1<<20, 90*time.Second
	want.Insecure = []string{"one:5000", "two", "three"}
	want.Runtimes["mine"], want.Runtimes["crun"] = "/usr/bin/mine", "/opt/crun"
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Each of them can be reset.
	if err := c.read(strings.NewReader("[Registries]\nInsecure=\nInsecure=four\n")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"four"}, c.Insecure); diff != "" {
		t.Errorf("after a reset (-want +got):\n%s", diff)
	}
}

// An empty value takes a setting back to its default, as in systemd's files.
func TestReset(t *testing.T) {
	for key := range keys {
		section, name, _ := strings.Cut(key, ".")
		c := Default()
		if err := c.read(strings.NewReader("[" + section + "]\n" + name + "=\n")); err != nil {
			t.Errorf("%s= without a value: %v", name, err)
			continue
		}
		if diff := cmp.Diff(Default(), c); diff != "" {
			t.Errorf("%s= without a value (-default +got):\n%s", name, diff)
		}
	}
}

func TestPrecedence(t *testing.T) {
	clearEnv(t)
	runtime := func(v string) string { return "[Engine]\nRuntime=" + v + "\n" }
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"vendor", map[string]string{"usr/lib/berth/berth.conf": runtime("a")}, "a"},
		{"etc over vendor", map[string]string{"usr/lib/berth/berth.conf": runtime("a"), "etc/berth/berth.conf": runtime("b")}, "b"},
		{"drop-in over main file", map[string]string{"etc/berth/berth.conf": runtime("a"), "usr/lib/berth/berth.conf.d/10.conf": runtime("b")}, "b"},
		{"later name", map[string]string{"etc/berth/berth.conf.d/10.conf": runtime("a"), "usr/lib/berth/berth.conf.d/20.conf": runtime("b")}, "b"},
		{"same name: etc", map[string]string{"usr/lib/berth/berth.conf.d/10.conf": runtime("a"), "run/berth/berth.conf.d/10.conf": runtime("b"), "etc/berth/berth.conf.d/10.conf": runtime("c")}, "c"},
		{"same name: run", map[string]string{"usr/lib/berth/berth.conf.d/10.conf": runtime("a"), "run/berth/berth.conf.d/10.conf": runtime("b")}, "b"},
		{"masked by an empty file", map[string]string{"usr/lib/berth/berth.conf.d/10.conf": runtime("a"), "etc/berth/berth.conf.d/10.conf": ""}, "berth-runtime"},
		{"no drop-in by its name", map[string]string{"etc/berth/berth.conf.d/10.conf~": runtime("a"), "etc/berth/berth.conf.d/README": "x"}, "berth-runtime"},
		{"no main file in /run", map[string]string{"run/berth/berth.conf": runtime("a")}, "berth-runtime"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(layout(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if c.Runtime != tt.want {
				t.Errorf("got %s, want %s", c.Runtime, tt.want)
			}
		})
	}
}

// A drop-in that is a link to /dev/null masks one of its name.
func TestMasked(t *testing.T) {
	clearEnv(t)
	dirs := layout(t, map[string]string{"usr/lib/berth/berth.conf.d/10.conf": "[Engine]\nRuntime=a\n", "etc/berth/berth.conf.d/x.conf": ""})
	if err := os.Symlink("/dev/null", filepath.Join(dirs[2], "berth.conf.d", "10.conf")); err != nil {
		t.Fatal(err)
	}
	c, err := load(dirs)
	if err != nil || c.Runtime != "berth-runtime" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestBadFiles(t *testing.T) {
	clearEnv(t)
	for text, want := range map[string]string{
		"[Engine]\nRot=/x":                            "unknown setting Rot= in section [Engine]",
		"[Container]\nRoot=/x":                        "unknown setting Root= in section [Container]",
		"[engine]\nRoot=/x":                           "section [engine]",
		"Root=/x":                                     "Root",
		"[Engine]\nRoot=x":                            "Root=x: must be an absolute path",
		"[Engine]\nRun=./x":                           "must be an absolute path",
		"[Container]\nPidsLimit=-1":                   "must be a whole number",
		"[Container]\nPidsLimit=1e3":                  "must be a whole number",
		"[Container]\nPidsLimit=10 x":                 "must be a whole number",
		"[Container]\nPidsLimit=+1":                   "must be a whole number",
		"[Container]\nShmSize=64m":                    "must be a whole number",
		"[Container]\nStopTimeout=10":                 "must be a duration",
		"[Container]\nStopTimeout=-1s":                "must be a duration",
		"[Runtimes]\nmine=./x":                        "must be a command or an absolute path",
		"[Engine\nRoot=/x":                            "",
		"[Engine]\nRoot":                              "",
		"[Engine]\nRoot=" + strings.Repeat("x", 5000): "",
	} {
		dirs := layout(t, map[string]string{"etc/berth/berth.conf.d/90-bad.conf": text})
		c, err := load(dirs)
		if err == nil {
			t.Errorf("%.60q: got %+v and no error", text, c)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "90-bad.conf") {
			t.Errorf("%.60q: got %v, want %q and the file's name", text, err, want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can read everything")
	}
	clearEnv(t)
	dirs := layout(t, map[string]string{"etc/berth/berth.conf": "[Engine]\n"})
	if err := os.Chmod(filepath.Join(dirs[2], "berth.conf"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := load(dirs); err == nil {
		t.Error("got no error")
	}
}

func TestEnvironment(t *testing.T) {
	dirs := layout(t, map[string]string{"etc/berth/berth.conf": "[Engine]\nRoot=/file\nRun=/file\n"})
	clearEnv(t)
	t.Setenv("BERTH_ROOT", "/env/root")
	c, err := load(dirs)
	if err != nil || c.Root != "/env/root" || c.Run != "/file" || c.Libexec != Default().Libexec {
		t.Errorf("BERTH_ROOT alone: got %+v, %v", c, err)
	}
	t.Setenv("BERTH_RUN", "/env/run")
	t.Setenv("BERTH_LIBEXEC", "/env/lib/")
	c, err = load(dirs)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := []string{c.Root, c.Run, c.Libexec, c.Runtimes["berth-runtime"]}, []string{"/env/root", "/env/run", "/env/lib", "/env/lib/berth-runtime"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, name := range []string{"BERTH_ROOT", "BERTH_RUN", "BERTH_LIBEXEC"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "relative")
			if _, err := load(dirs); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// berth.conf says where berth-runtime is, if it says so, also with
// BERTH_LIBEXEC.
func TestEnvironmentRuntime(t *testing.T) {
	clearEnv(t)
	dirs := layout(t, map[string]string{"etc/berth/berth.conf": "[Runtimes]\nberth-runtime=/mine\n"})
	t.Setenv("BERTH_LIBEXEC", "/env/lib")
	c, err := load(dirs)
	if err != nil || c.Runtimes["berth-runtime"] != "/mine" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("[Engine]\nRoot=/x\n")
	f.Add("[Runtimes]\na=b\\\nc\n[Container]\nStopTimeout=1h")
	f.Add("[Registries]\nInsecure=\x00 a\n# \xff")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		if err := c.read(strings.NewReader(text)); err != nil {
			return
		}
		if !filepath.IsAbs(c.Root) || !filepath.IsAbs(c.Run) || c.PidsLimit < 0 || c.ShmSize < 0 || c.StopTimeout < 0 || c.Runtime == "" || c.LogDriver == "" {
			t.Errorf("%q: got %+v", text, c)
		}
	})
}

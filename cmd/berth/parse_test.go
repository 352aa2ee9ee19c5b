package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthrun/berth/container"
)

// testEnvironment is one in which nothing depends on the machine; paths are
// those of dir.
func testEnvironment(dir string) environment {
	vars := map[string]string{"HOME": dir, "LANG": "C", "LC_ALL": "de", "EMPTY": ""}
	return environment{
		lookup:  func(k string) (string, bool) { v, ok := vars[k]; return v, ok },
		environ: func() []string { return []string{"LC_ALL=de", "LANG=C", "EMPTY=", "HOME=" + dir} },
		cwd:     func() (string, error) { return dir, nil },
		home:    func() (string, error) { return dir, nil },
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "10b": 10, "1k": 1024, "1kb": 1024, "1KiB": 1024, "512m": 512 << 20, "1.5g": 3 << 29, "2 t": 2 << 40,
		"1P": 1 << 50, "8191p": 8191 << 50, "9223372036854775807": math.MaxInt64, ".5k": 512,
	} {
		if got, err := parseSize(s); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "m", "12x", "-1", "1e3", "1..2", "8192p", "9223372036854775808", "0x10", "1 0", "inf", "nan", "1,5g", "1mm"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", s, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1g", "-1", "1.5", "99999999999p", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && n < 0 {
			t.Errorf("parseSize(%q) = %d", s, n)
		}
		if n, err := parseCPUs(s); err == nil && n < 0 {
			t.Errorf("parseCPUs(%q) = %d", s, n)
		}
	})
}

func TestParseCPUs(t *testing.T) {
	for s, want := range map[string]int64{"1": 1e9, "0.5": 5e8, "1.5": 15e8, ".01": 1e7, "0": 0, "0.1": 1e8, "2.": 2e9, "1.123456789": 1123456789} {
		if got, err := parseCPUs(s); got != want || err != nil {
			t.Errorf("parseCPUs(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", ".", "-1", "1e1", "0.001", "1.1234567891", "x", "1.2.3", "99999999999999"} {
		if got, err := parseCPUs(s); err == nil {
			t.Errorf("parseCPUs(%q) = %d, want an error", s, got)
		}
	}
}

func TestParseVolume(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"data", "a:b"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := testEnvironment(dir)
	bind := func(src, dst string, options ...string) container.Mount {
		return container.Mount{Type: "bind", Source: src, Destination: dst, Options: options}
	}
	for s, want := range map[string]container.Mount{
		"/:/host":                          bind("/", "/host"),
		dir + "/data:/x":                   bind(dir+"/data", "/x"),
		dir + "//data/:/x/":                bind(dir+"/data", "/x"),
		"./data:/x:ro":                     bind(dir+"/data", "/x", "ro"),
		".:/x":                             bind(dir, "/x"),
		"../" + filepath.Base(dir) + ":/x": bind(dir, "/x"),
		"~/data:/x:rw,rshared":             bind(dir+"/data", "/x", "rw", "rshared"),
		"~:/x:z":                           bind(dir, "/x"),
		"./data:/x:ro,Z,noexec,nosuid,nodev,bind": bind(dir+"/data", "/x", "ro", "noexec", "nosuid", "nodev", "bind"),
		`./a\:b:/x`:  bind(dir+"/a:b", "/x"),
		"./data:/x:": bind(dir+"/data", "/x"),
	} {
		got, err := env.parseVolume(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
	for s, want := range map[string]string{
		"/x":                      "anonymous volumes are not supported yet",
		"vol:/x":                  "named volumes are not supported yet",
		"./nope:/x":               "./nope: no such file or directory",
		"./data:x":                "an absolute path in the container",
		"./data:/":                "other than its root",
		"./data:/x/..":            "other than its root",
		":/x":                     "a path on the host",
		"":                        "anonymous",
		"./data:/x:bogus":         `not "bogus"`,
		"./data:/x:ro,rw":         "one of ro and rw",
		"./data:/x:shared,rslave": "one of shared and rslave",
		"./data:/x:U":             "not supported yet",
		"./data:/x:ro:y":          `written \:`,
	} {
		if _, err := env.parseVolume(s); !strings.Contains(strings.ReplaceAll(errText(err), dir, "."), want) {
			t.Errorf("%q: got error %q, want %q", s, errText(err), want)
		}
	}
}

func TestParseMount(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a,b"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := testEnvironment(dir)
	for s, want := range map[string]container.Mount{
		"type=bind,src=/,dst=/x":                                           {Type: "bind", Source: "/", Destination: "/x"},
		"type=bind,source=.,target=/x,readonly":                            {Type: "bind", Source: dir, Destination: "/x", Options: []string{"ro"}},
		"type=bind,src=.,dst=/x,ro=false":                                  {Type: "bind", Source: dir, Destination: "/x", Options: []string{"rw"}},
		`type=bind,"src=./a,b",destination=/x`:                             {Type: "bind", Source: dir + "/a,b", Destination: "/x"},
		"type=bind,src=a,dst=/x":                                           {},
		"type=bind,src=/,dst=/x,bind-propagation=rslave,bind-nonrecursive": {Type: "bind", Source: "/", Destination: "/x", Options: []string{"rslave", "bind"}},
		"dst=/x,type=tmpfs":                                                {Type: "tmpfs", Destination: "/x"},
		"type=tmpfs,dst=/x,tmpfs-size=64m,tmpfs-mode=1777,ro":              {Type: "tmpfs", Destination: "/x", Options: []string{"ro", "size=67108864", "mode=1777"}},
	} {
		got, err := env.parseMount(s)
		if want.Type == "" {
			if !strings.Contains(errText(err), "no such file") {
				t.Errorf("%q: got error %q", s, errText(err))
			}
		} else if err != nil {
			t.Errorf("%q: %v", s, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	}
	for s, want := range map[string]string{
		"":                                                 "type=bind",
		"src=/,dst=/x":                                     "type=bind or type=tmpfs",
		"type=bind,dst=/x":                                 "src=PATH",
		"type=bind,src=/":                                  "dst=PATH",
		"type=volume,src=v,dst=/x":                         "type=volume is not supported yet",
		"type=bogus,dst=/x":                                "not type=bogus",
		"type=tmpfs,dst=/x,src=/":                          "without src=",
		"type=bind,src=/,dst=/x,tmpfs-size=1":              "without tmpfs-",
		"type=bind,src=/,dst=/x,bogus=1":                   `not "bogus"`,
		"type=bind,src=/,dst=x":                            "absolute path",
		"type=bind,src=/,dst=/x,ro=maybe":                  "ro=true or false",
		"type=tmpfs,dst=/x,tmpfs-size=big":                 "tmpfs-size=",
		"type=tmpfs,dst=/x,tmpfs-mode=9":                   "octal",
		`type=bind,"src=/,dst=/x`:                          "type=bind|tmpfs",
		"type=bind,src=/,dst=/x,bind-propagation=sideways": `not "sideways"`,
	} {
		if _, err := env.parseMount(s); !strings.Contains(errText(err), want) {
			t.Errorf("%q: got error %q, want %q", s, errText(err), want)
		}
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add("type=bind,src=/,dst=/x,ro")
	f.Add("/:/x:ro,rshared")
	f.Add("/tmp:size=64m,mode=1777")
	env := testEnvironment("/")
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (container.Mount, error){env.parseMount, env.parseVolume, parseTmpfs} {
			m, err := parse(s)
			if err != nil {
				continue
			}
			if !filepath.IsAbs(m.Destination) || m.Destination == "/" || filepath.Clean(m.Destination) != m.Destination {
				t.Errorf("%q: destination %q", s, m.Destination)
			}
			if m.Type == "bind" && !filepath.IsAbs(m.Source) {
				t.Errorf("%q: source %q", s, m.Source)
			}
		}
	})
}

func TestParseTmpfs(t *testing.T) {
	got, err := parseTmpfs("/run:size=64m,mode=1777,exec")
	want := container.Mount{Type: "tmpfs", Destination: "/run", Options: []string{"size=64m", "mode=1777", "exec"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, s := range []string{"", "run", "/", "/x:bogus", "/x:size=", "/x:size=big", "/x:mode=8", "/x:uid=-1", "/x:ro=1"} {
		if m, err := parseTmpfs(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, m)
		}
	}
}

func TestExpandEnv(t *testing.T) {
	env := testEnvironment("/root")
	for s, want := range map[string][]string{
		"A=1": {"A=1"}, "A=": {"A="}, "A=b=c, d ": {"A=b=c, d "}, "LANG": {"LANG=C"}, "EMPTY": {"EMPTY="}, "NOPE": nil,
		"L*": {"LANG=C", "LC_ALL=de"}, "X*": nil, "A*=1": {"A*=1"},
	} {
		got, err := env.expandEnv(s)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", s, err, diff)
		}
	}
	for _, s := range []string{"", "=1", "A=\x00"} {
		if got, err := env.expandEnv(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, got)
		}
	}
}

func TestReadEnvFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := testEnvironment("/root")
	write("\ufeffA=1\n# comment\n\n  B=\"two words\" \nC=x=y#z\r\nLANG\nNOPE\nD=")
	got, err := env.readEnvFile(path)
	want := []string{"A=1", `B="two words" `, "C=x=y#z", "LANG=C", "D="}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for text, want := range map[string]string{
		"A=1\n=2":    "line 2: the name before '=' is missing",
		"A B=1":      `line 1: blank in the name "A B"`,
		"A =1":       `line 1: blank in the name "A "`,
		"A=\xff\xfe": "line 1 is no text",
		"A=\x00":     "line 1 is no text",
	} {
		write(text)
		if _, err := env.readEnvFile(path); !strings.Contains(errText(err), want) {
			t.Errorf("%q: got error %q, want %q", text, errText(err), want)
		}
	}
	if _, err := env.readEnvFile(path + ".nope"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
}

func FuzzKeyValues(f *testing.F) {
	f.Add("A=1\n#x\n B\r\n")
	f.Fuzz(func(t *testing.T, data string) {
		lines, err := splitKeyValues(data)
		if err != nil {
			return
		}
		again, err := splitKeyValues(strings.Join(lines, "\n"))
		if err != nil {
			t.Fatalf("%q became %q: %v", data, lines, err)
		}
		if diff := cmp.Diff(lines, again); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestParseDevice(t *testing.T) {
	for s, want := range map[string]container.Device{
		"/dev/null":            {Source: "/dev/null", Destination: "/dev/null", Access: "rwm"},
		"/dev/null:r":          {Source: "/dev/null", Destination: "/dev/null", Access: "r"},
		"/dev/null:/dev/x":     {Source: "/dev/null", Destination: "/dev/x", Access: "rwm"},
		"/dev/null:/dev/x:mrw": {Source: "/dev/null", Destination: "/dev/x", Access: "mrw"},
	} {
		if got, err := parseDevice(s); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "null", "/dev/nope", "/dev/null:x", "/dev/null:/dev/x:rr", "/dev/null:/dev/x:z", "/dev/null:/a:r:w", "/dev/null:/dev/x:", "vendor.com/gpu=all"} {
		if got, err := parseDevice(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestParseUlimit(t *testing.T) {
	for s, want := range map[string]container.Ulimit{
		"nofile=1024": {Name: "nofile", Soft: 1024, Hard: 1024}, "nofile=1024:4096": {Name: "nofile", Soft: 1024, Hard: 4096},
		"core=-1": {Name: "core", Soft: -1, Hard: -1}, "RLIMIT_NPROC=5:unlimited": {Name: "nproc", Soft: 5, Hard: -1}, "core=0:-1": {Name: "core", Soft: 0, Hard: -1},
	} {
		if got, err := parseUlimit(s); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "nofile", "nofile=", "nofiles=1", "nofile=a", "nofile=1:", "nofile=2:1", "nofile=-1:5", "nofile=-2", "nofile=1:2:3"} {
		if got, err := parseUlimit(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

// The parsers that either return what they were given or refuse it.
func TestParseWords(t *testing.T) {
	env := testEnvironment("/home")
	for _, tt := range []struct {
		name  string
		parse func(string) (string, error)
		good  map[string]string // value → result; "" means itself
		bad   []string
	}{
		{"network", parseNetwork, map[string]string{"none": "", "host": "", "private": "none", "container:web": "", "ns:/proc/1/ns/net": ""},
			[]string{"", "bridge", "mynet", "container:", "ns:net", "bogus:x"}},
		{"pid", parseNamespace("private", "host", "container:", "ns:"), map[string]string{"host": "", "container:a": ""}, []string{"none", "x", "", "container:"}},
		{"ipc", parseNamespace("private", "host", "none", "shareable", "container:", "ns:"), map[string]string{"none": "", "shareable": ""}, []string{"slave", ""}},
		{"cpuset-cpus", parseCPUSet, map[string]string{"0": "", "0-3,5": ""}, []string{"", "a", "3-1", "0-", "-1", "0,,1", "99999"}},
		{"hostname", parseHostname, map[string]string{"box": "", "a.b-c": ""}, []string{"", "-a", "a b", ".a", strings.Repeat("x", 65)}},
		{"umask", parseUmask, map[string]string{"22": "", "0077": ""}, []string{"", "8", "1777", "-1", "00022"}},
		{"tz", parseTimezone, map[string]string{"local": "", "Europe/Berlin": ""}, []string{"", "/etc/passwd", "../x"}},
		{"workdir", parseWorkDir, map[string]string{"/": "", "/srv": ""}, []string{"", "srv", "./x"}},
		{"slice", parseSlice, map[string]string{"machine-web.slice": ""}, []string{"", "machine", ".slice", "a/b.slice", "/x.slice"}},
		{"platform", parsePlatform, map[string]string{"linux/arm64": "", "linux/arm/v7": ""}, []string{"", "linux", "linux/", "a/b/c/d"}},
		{"dns", parseDNS, map[string]string{"1.1.1.1": "", "::1": "", "none": ""}, []string{"", "dns.lan", "1.1.1"}},
		{"name", parseName, map[string]string{"web-1": ""}, []string{"", "-a", "a@b", "a b", strings.Repeat("x", 201)}},
		{"pull", parsePull, map[string]string{"always": "", "newer": ""}, []string{"", "sometimes"}},
		{"security-opt", env.securityOpt, map[string]string{
			"seccomp=unconfined": "", "seccomp:unconfined": "seccomp=unconfined", "seccomp=p.json": "seccomp=/home/p.json",
			"seccomp=/p.json": "", "no-new-privileges": "", "no-new-privileges:true": "no-new-privileges=true", "mask=/proc/x:/sys": "",
			"apparmor=unconfined": "", "apparmor:mine": "apparmor=mine",
		}, []string{"", "bogus", "seccomp", "seccomp=", "apparmor", "apparmor="}},
	} {
		for s, want := range tt.good {
			if want == "" {
				want = s
			}
			if got, err := tt.parse(s); got != want || err != nil {
				t.Errorf("%s %q: got %q, %v, want %q", tt.name, s, got, err, want)
			}
		}
		for _, s := range tt.bad {
			if got, err := tt.parse(s); err == nil {
				t.Errorf("%s %q: got %q, want an error", tt.name, s, got)
			}
		}
	}
}

func TestParseRestart(t *testing.T) {
	for s, want := range map[string]container.RestartPolicy{
		"no": {Name: "no"}, "always": {Name: "always"}, "unless-stopped": {Name: "unless-stopped"},
		"on-failure": {Name: "on-failure"}, "on-failure:3": {Name: "on-failure", MaxRetries: 3},
	} {
		if got, err := parseRestart(s); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x"} {
		if got, err := parseRestart(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestParseEntrypoint(t *testing.T) {
	for s, want := range map[string][]string{"": {}, "sh": {"sh"}, "a b": {"a b"}, `["sh", "-c"]`: {"sh", "-c"}, "[]": {}} {
		if got, err := parseEntrypoint(s); !cmp.Equal(got, want) || err != nil {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
	if got, err := parseEntrypoint("[1]"); err == nil {
		t.Errorf("[1]: got %q, want an error", got)
	}
}

func TestParseAddHost(t *testing.T) {
	for s, want := range map[string][]string{
		"db:10.0.0.1": {"db:10.0.0.1"}, "a;b:10.0.0.1": {"a:10.0.0.1", "b:10.0.0.1"}, "db=::1": {"db:::1"}, "db:::1": {"db:::1"},
		"db:[::1]": {"db:::1"}, "h:host-gateway": {"h:host-gateway"},
	} {
		if got, err := parseAddHost(s); !cmp.Equal(got, want) || err != nil {
			t.Errorf("%q: got %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"", "db", ":1.1.1.1", "db:", "db:x", "a b:1.1.1.1", "a\n:1.1.1.1"} {
		if got, err := parseAddHost(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, got)
		}
	}
}

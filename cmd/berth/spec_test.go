package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
)

// specOf is the Spec that a command line of run means.
func specOf(t *testing.T, env environment, args ...string) (container.Spec, error) {
	t.Helper()
	flags := runVerb().flags()
	flagArgs, rest, _, err := canonical(flags, args, false)
	if err != nil {
		return container.Spec{}, err
	}
	if err := countArgs(runVerb(), rest); err != nil {
		return container.Spec{}, err
	}
	var spec container.Spec
	err = withFlags(t.Context(), nil, flags, flagArgs, func(c *cli.Context) error {
		spec, err = parseSpec(c, rest, env)
		return err
	})
	return spec, err
}

func ptr[T any](v T) *T { return &v }

func TestSpec(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"env": "A=file\nB=2\n", "labels": "x=1\ny\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := testEnvironment(dir)
	type spec = container.Spec
	for _, tt := range []struct {
		args string // split at '|'
		want func(*spec)
	}{
		{"img", func(s *spec) {}},
		{"img|sh|-c|echo a,b", func(s *spec) { s.Args = []string{"sh", "-c", "echo a,b"} }},
		{"img|--rm", func(s *spec) { s.Args = []string{"--rm"} }},
		{"--|img|x", func(s *spec) { s.Args = []string{"x"} }},
		{"-it|--rm|--init|img", func(s *spec) { s.TTY, s.OpenStdin, s.AutoRemove, s.Init = true, true, true, true }},
		{"--name|web|--hostname|box|img", func(s *spec) { s.Name, s.Hostname = "web", "box" }},
		{"-h|box|img", func(s *spec) { s.Hostname = "box" }},
		{"-e|A=1,2|-eB|--env|LANG|-e|C= d |img", func(s *spec) { s.Env = []string{"A=1,2", "LANG=C", "C= d "} }},
		{"-e|A=flag|--env-file|" + dir + "/env|img", func(s *spec) { s.Env = []string{"A=file", "B=2", "A=flag"} }},
		{"-l|a=b,c|--label|d|img", func(s *spec) { s.Labels = map[string]string{"a": "b,c", "d": ""} }},
		{"-l|x=2|--label-file|" + dir + "/labels|img", func(s *spec) { s.Labels = map[string]string{"x": "2", "y": ""} }},
		{"--annotation|a=b=c|img", func(s *spec) { s.Annotations = map[string]string{"a": "b=c"} }},
		{"-v|" + dir + ":/x:ro|--mount|type=tmpfs,dst=/t,tmpfs-size=1k|--tmpfs|/u|img", func(s *spec) {
			s.Mounts = []container.Mount{
				{Type: "bind", Source: dir, Destination: "/x", Options: []string{"ro"}},
				{Type: "tmpfs", Destination: "/t", Options: []string{"size=1024"}},
				{Type: "tmpfs", Destination: "/u"},
			}
		}},
		{"--read-only|--tmpfs|/tmp|img", func(s *spec) {
			s.ReadOnly = true
			options := []string{"rw", "exec", "mode=1777", "tmpcopyup"}
			s.Mounts = []container.Mount{{Type: "tmpfs", Destination: "/tmp"},
				{Type: "tmpfs", Destination: "/run", Options: options}, {Type: "tmpfs", Destination: "/var/tmp", Options: options}}
		}},
		{"--read-only|--read-only-tmpfs=false|img", func(s *spec) { s.ReadOnly = true }},
		{"-w|/srv|-u|1000:staff|--group-add|5|--group-add|audio|img", func(s *spec) {
			s.WorkDir, s.User, s.Groups = "/srv", "1000:staff", []string{"5", "audio"}
		}},
		{"--entrypoint||img", func(s *spec) { s.Entrypoint = &[]string{} }},
		{`--entrypoint|["a", "b"]|img|c`, func(s *spec) { s.Entrypoint, s.Args = &[]string{"a", "b"}, []string{"c"} }},
		{"--network|host|--pid|host|--ipc|private|--uts|container:a|--cgroupns|host|img", func(s *spec) {
			s.Network, s.PID, s.UTS, s.Cgroupns = "host", "host", "container:a", "host"
		}},
		{"--net=none|img", func(s *spec) { s.Network = "none" }},
		{"--stop-signal|QUIT|--stop-timeout|3|img", func(s *spec) { s.StopSignal, s.StopTimeout = "QUIT", ptr(3*time.Second) }},
		{"--stop-timeout|0|img", func(s *spec) { s.StopTimeout = ptr(time.Duration(0)) }},
		{"--restart|on-failure:2|img", func(s *spec) { s.Restart = container.RestartPolicy{Name: "on-failure", MaxRetries: 2} }},
		{"--cap-add|NET_ADMIN|--cap-drop|all|--privileged|img", func(s *spec) {
			s.CapAdd, s.CapDrop, s.Privileged = []string{"NET_ADMIN"}, []string{"all"}, true
		}},
		{"--security-opt|seccomp=p.json|img", func(s *spec) { s.SecurityOpt = []string{"seccomp=" + dir + "/p.json"} }},
		{"--ulimit|nofile=1:2|--sysctl|a.b=1|img", func(s *spec) {
			s.Ulimits, s.Sysctls = []container.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}, map[string]string{"a.b": "1"}
		}},
		{"--shm-size|1m|--device|/dev/null|img", func(s *spec) {
			s.ShmSize, s.Devices = 1<<20, []container.Device{{Source: "/dev/null", Destination: "/dev/null", Access: "rwm"}}
		}},
		{"-m|64m|--memory-swap|128m|--memory-reservation|32m|img", func(s *spec) {
			s.Resources = container.Resources{Memory: 64 << 20, MemorySwap: 128 << 20, MemoryReservation: 32 << 20}
		}},
		{"--memory-swap|-1|img", func(s *spec) { s.Resources.MemorySwap = -1 }},
		{"--cpus|1.5|--cpu-shares|512|--cpuset-cpus|0-1|--cpuset-mems|0|--pids-limit|-1|img", func(s *spec) {
			s.Resources = container.Resources{NanoCPUs: 15e8, CPUShares: 512, CPUSetCPUs: "0-1", CPUSetMems: "0", PidsLimit: ptr(int64(-1))}
		}},
		{"--cpu-quota|50000|img", func(s *spec) { s.Resources.NanoCPUs = 5e8 }},
		{"--cpu-quota|50000|--cpu-period|10000|img", func(s *spec) { s.Resources.NanoCPUs = 5e9 }},
		{"--oom-score-adj|-500|img", func(s *spec) { s.OOMScoreAdj = ptr(-500) }},
		{"--slice|a.slice|img", func(s *spec) { s.Slice = "a.slice" }},
		{"--cgroup-parent|a.slice|--runtime|crun|img", func(s *spec) { s.Slice, s.Runtime = "a.slice", "crun" }},
		{"--tz|local|--umask|077|img", func(s *spec) { s.Timezone, s.Umask = "local", "077" }},
		{"--log-driver|k8s-file|--log-opt|max-size=1m|img", func(s *spec) {
			s.Log = container.LogConfig{Driver: "k8s-file", Options: map[string]string{"max-size": "1m"}}
		}},
		{"--dns|1.1.1.1|--dns-search|a.b|--dns-opt|ndots:2|--add-host|a:1.1.1.1|img", func(s *spec) {
			s.DNS, s.DNSSearch, s.DNSOptions, s.AddHosts = []string{"1.1.1.1"}, []string{"a.b"}, []string{"ndots:2"}, []string{"a:1.1.1.1"}
		}},
		{"--pull|never|--platform|linux/arm64|img", func(s *spec) { s.Pull, s.Platform = "never", "linux/arm64" }},
		{"--rootfs|" + dir + "|sh", func(s *spec) { s.Image, s.Rootfs, s.Args = "", dir, []string{"sh"} }},
		{"--rootfs=" + dir + "|sh", func(s *spec) { s.Image, s.Rootfs, s.Args = "", dir, []string{"sh"} }},
		{"--rootfs|--name|a|.|sh", func(s *spec) { s.Image, s.Name, s.Rootfs, s.Args = "", "a", dir, []string{"sh"} }},
		{"--no-healthcheck|--http-proxy=false|--sig-proxy=false|--detach-keys|a|--cidfile|x|-q|--replace|--name|n|-a|stdout|img", func(s *spec) { s.Name = "n" }},
	} {
		t.Run(tt.args, func(t *testing.T) {
			want := container.Spec{Image: "img"}
			tt.want(&want)
			got, err := specOf(t, env, strings.Split(tt.args, "|")...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSpecErrors(t *testing.T) {
	env := testEnvironment(t.TempDir())
	for args, want := range map[string]string{
		"":                                       "IMAGE is missing: want IMAGE [COMMAND [ARG...]]",
		"--rm":                                   "IMAGE is missing",
		"a b":                                    `image "a b": want a name`,
		"-m|12x|img":                             `--memory "12x": want a number of bytes`,
		"--memory=|img":                          `--memory "": want a number of bytes`,
		"--cpus|x|img":                           `--cpus "x": want a number of CPUs`,
		"--cpu-shares|-1|img":                    `--cpu-shares "-1": want a number from 2`,
		"--pids-limit|many|img":                  `--pids-limit "many": want`,
		"--oom-score-adj|1001|img":               `--oom-score-adj "1001": want a number from -1000 to 1000`,
		"--network|mynet|img":                    `--network "mynet": want none, host`,
		"--network|bridge|img":                   "bridge is not supported yet",
		"--uts|none|img":                         `--uts "none": want private, host, container:NAME or ns:PATH`,
		"--restart|sometimes|img":                `--restart "sometimes": want no, always`,
		"--stop-signal|BOGUS|img":                `--stop-signal "BOGUS": want a signal`,
		"--stop-timeout|-1|img":                  `--stop-timeout "-1": want a number of seconds`,
		"--env-file|/nope|img":                   `--env-file "/nope": want a file of KEY=VALUE lines: open /nope: no such file or directory`,
		"-e|=x|img":                              `--env "=x": want KEY=VALUE`,
		"--label|=x|img":                         `--label "=x": want KEY=VALUE or KEY`,
		"--sysctl|x|img":                         `--sysctl "x": want KEY=VALUE`,
		"-v|/nope:/x|img":                        `--volume "/nope:/x": want a path that exists: /nope: no such file or directory`,
		"-v|/:/x|--tmpfs|/x|img":                 "two mounts at /x",
		"-v|/:/x|--mount|type=tmpfs,dst=/x/|img": "two mounts at /x",
		"--log-driver|syslog|img":                `--log-driver "syslog": want journald, k8s-file or none`,
		"--pull|maybe|img":                       `--pull "maybe": want always, missing, newer or never`,
		"--name|a@b|img":                         `--name "a@b": want 1 to 90 letters`,
		"--user||img":                            `--user "": want a value`,
		"--rm|--restart|always|img":              "--rm and --restart=always exclude each other",
		"--hostname|a|--uts|host|img":            "--hostname and --uts=host exclude each other",
		"--memory-swap|1g|img":                   "--memory-swap needs --memory",
		"--memory-swap|1m|-m|2m|img":             "--memory-swap is less than --memory",
		"--memory-reservation|3m|-m|2m|img":      "--memory-reservation is more than --memory",
		"--cpus|1|--cpu-quota|1000|img":          "--cpus and --cpu-quota exclude each other",
		"--replace|img":                          "--replace needs --name",
		"--rootfs|/nope|sh":                      `--rootfs "/nope": want a path that exists`,
		"--rootfs=/|--pull=always|sh":            "--rootfs and --pull exclude each other",
		"--rm=perhaps|img":                       `--rm "perhaps": want true or false`,
	} {
		_, err := specOf(t, env, slices.DeleteFunc(strings.Split(args, "|"), func(s string) bool { return args == "" })...)
		if !strings.Contains(errText(err), want) {
			t.Errorf("%q: got error %q, want %q", args, errText(err), want)
		}
		if strings.Contains(errText(err), "\n") {
			t.Errorf("%q: error of several lines: %q", args, errText(err))
		}
	}
}

// No flag may be declared twice, and each needs a word of help and, where it
// has a value, a placeholder.
func TestFlagTables(t *testing.T) {
	for _, v := range append(verbs(), &verb{top: "berth", flags: globalFlags}) {
		if v.flags == nil {
			continue
		}
		seen := map[string]bool{}
		for _, f := range v.flags() {
			for _, n := range f.Names() {
				if seen[n] {
					t.Errorf("%s: flag %s is there twice", v.top+v.container, dashed(n))
				}
				seen[n] = true
			}
			usage, visible := usageOf(f)
			if _, isBool := f.(*cli.BoolFlag); visible && (usage == "" || !isBool && metavar(f) == "" && f.Names()[0] != "rootfs") {
				t.Errorf("%s: flag --%s: no help or placeholder", v.top+v.container, f.Names()[0])
			}
		}
		for _, n := range strings.Fields(v.later) {
			if seen[n] {
				t.Errorf("%s: flag %s is said to be missing and is there", v.top, dashed(n))
			}
		}
		if v.max >= 0 && v.max < v.min {
			t.Errorf("%s: max %d < min %d", v.top, v.max, v.min)
		}
	}
}

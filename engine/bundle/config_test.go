package bundle

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/ocijson"
)

var update = flag.Bool("update", false, "write the golden files")

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// testInput is a container of an image with a few users.
func testInput(t testing.TB, s *container.Spec) *Input {
	t.Helper()
	tree := layers(t, m{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nnohome:x:34:34:::\n",
		"etc/group":  "root:x:0:\nweb:x:33:\nlogs:x:40:web,other\ndisk:x:6:\n",
	})
	return &Input{
		Spec: s, ID: testID, Dir: "/var/lib/berth/containers/" + testID, Tree: tree, Init: "/usr/libexec/berth/berth-init",
		Image:   &ispec.ImageConfig{Env: []string{"PATH=/bin", "LANG=C"}, WorkingDir: "/srv"},
		Command: []string{"/bin/web", "-x"},
	}
}

func testConfig(t testing.TB, s *container.Spec) *specs.Spec {
	t.Helper()
	c, err := Config(testInput(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGolden is the whole configuration of a container that was asked nothing
// special of; without the seccomp profile, which is another project's.
func TestGolden(t *testing.T) {
	c := testConfig(t, new(container.Spec))
	if c.Linux.Seccomp == nil {
		t.Error("no seccomp profile")
	}
	c.Linux.Seccomp = nil
	data, err := ocijson.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", "config.json")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

// flatten makes lines PATH=VALUE of a configuration. Elements of a list are
// named by what they are, not by their place.
func flatten(t testing.TB, c *specs.Spec) map[string]string {
	t.Helper()
	plain := *c
	linux := *c.Linux
	plain.Linux = &linux
	seccomp := "none"
	if linux.Seccomp != nil {
		seccomp = string(linux.Seccomp.DefaultAction)
	}
	linux.Seccomp = nil
	data, err := ocijson.Encode(&plain)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{"linux.seccomp": seccomp}
	flattenValue(lines, "", v)
	return lines
}

func flattenValue(lines map[string]string, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flattenValue(lines, strings.TrimPrefix(at+"."+k, "."), e)
		}
	case []any:
		var words []string
		for i, e := range v {
			o, ok := e.(map[string]any)
			if !ok {
				words = append(words, fmt.Sprint(e))
				continue
			}
			name := fmt.Sprint(i)
			for _, k := range []string{"destination", "path", "type"} {
				if s, ok := o[k].(string); ok && (k != "path" || !strings.HasSuffix(at, "namespaces")) {
					name = s
					break
				}
			}
			if o["allow"] != nil {
				name = fmt.Sprint(o["allow"], " ", o["type"], " ", o["major"], ":", o["minor"])
			}
			flattenValue(lines, at+"["+name+"]", e)
		}
		if words != nil {
			lines[at] = strings.Join(words, " ")
		}
	default:
		lines[at] = fmt.Sprint(v)
	}
}

// differences of two configurations: "PATH=VALUE" is new or changed, "-PATH"
// is gone.
func differences(from, to map[string]string) []string {
	var list []string
	for k, v := range to {
		if old, ok := from[k]; !ok || old != v {
			list = append(list, k+"="+v)
		}
	}
	for k := range from {
		if _, ok := to[k]; !ok {
			list = append(list, "-"+k)
		}
	}
	slices.Sort(list)
	return list
}

const defaultSet = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT"

// rootCaps are the lines of a root process that has set; "" drops them all.
func rootCaps(set string) []string {
	var list []string
	for _, s := range []string{"bounding", "effective", "permitted"} {
		if set == "" {
			list = append(list, "-process.capabilities."+s)
		} else {
			list = append(list, "process.capabilities."+s+"="+set)
		}
	}
	return list
}

// userCaps are the lines of another user's process that was given set.
func userCaps(set string) []string {
	if set == "" {
		return []string{"-process.capabilities.effective", "-process.capabilities.permitted"}
	}
	var list []string
	for _, s := range []string{"ambient", "effective", "inheritable", "permitted"} {
		list = append(list, "process.capabilities."+s+"="+set)
	}
	return list
}

func TestSpecDifferences(t *testing.T) {
	five := 5
	dir := "/var/lib/berth/containers/" + testID
	profile := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_LOG","syscalls":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	hostName, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	hostSys := []string{
		"mounts[/sys].options=rbind nosuid noexec nodev ro rslave", "mounts[/sys].source=/sys", "mounts[/sys].type=bind",
		"-linux.sysctl.net.ipv4.ping_group_range",
	}
	for _, tt := range []struct {
		name string
		spec container.Spec
		want []string
	}{
		{"read-only", container.Spec{ReadOnly: true}, []string{"root.readonly=true"}},
		{"tty", container.Spec{TTY: true}, []string{"process.terminal=true", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab TERM=xterm HOME=/root LANG=C"}},
		{"hostname", container.Spec{Hostname: "h"}, []string{"hostname=h", "process.env=PATH=/bin container=berth HOSTNAME=h HOME=/root LANG=C"}},
		{"env", container.Spec{Env: []string{"LANG=de", "A=1,2", "HOME=/h", "A=3", "E="}}, []string{"process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/h LANG=de A=3 E="}},
		{"workdir", container.Spec{WorkDir: "/a/../b/"}, []string{"process.cwd=/b"}},
		{"annotations", container.Spec{Annotations: m{"a": "b"}}, []string{"annotations.a=b"}},
		{"oom score", container.Spec{OOMScoreAdj: &five}, []string{"process.oomScoreAdj=5"}},
		{"umask", container.Spec{Umask: "0077"}, []string{"process.user.umask=63"}},
		{"init", container.Spec{Init: true}, []string{
			"process.args=/run/berth-init -- /bin/web -x",
			"mounts[/run/berth-init].destination=/run/berth-init", "mounts[/run/berth-init].options=bind ro rprivate",
			"mounts[/run/berth-init].source=/usr/libexec/berth/berth-init", "mounts[/run/berth-init].type=bind",
		}},
		{"tz", container.Spec{Timezone: "UTC"}, []string{
			"mounts[/etc/localtime].destination=/etc/localtime", "mounts[/etc/localtime].options=bind ro rprivate",
			"mounts[/etc/localtime].source=" + dir + "/localtime", "mounts[/etc/localtime].type=bind",
		}},
		{"ulimits", container.Spec{Ulimits: []container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}, {Name: "core", Soft: -1, Hard: -1}}}, []string{
			"process.rlimits[RLIMIT_NOFILE].type=RLIMIT_NOFILE", "process.rlimits[RLIMIT_NOFILE].soft=10", "process.rlimits[RLIMIT_NOFILE].hard=20",
			"process.rlimits[RLIMIT_CORE].type=RLIMIT_CORE", "process.rlimits[RLIMIT_CORE].soft=1.8446744073709552e+19", "process.rlimits[RLIMIT_CORE].hard=1.8446744073709552e+19",
		}},
		{"sysctls", container.Spec{Sysctls: m{"kernel.msgmax": "1", "net.ipv4.ping_group_range": "1 0"}}, []string{"linux.sysctl.kernel.msgmax=1", "linux.sysctl.net.ipv4.ping_group_range=1 0"}},
		{"shm size", container.Spec{ShmSize: 1 << 20}, []string{"mounts[/dev/shm].options=nosuid noexec nodev mode=1777 size=1048576"}},

		{"user by number", container.Spec{User: "1000"}, append(userCaps(""), "process.user.uid=1000", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/ LANG=C")},
		{"user and group by number", container.Spec{User: "1000:2000"}, append(userCaps(""), "process.user.uid=1000", "process.user.gid=2000", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/ LANG=C")},
		{"user by name", container.Spec{User: "web"}, append(userCaps(""), "process.user.uid=33", "process.user.gid=33", "process.user.additionalGids=40", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/var/www LANG=C")},
		{"user by the number of a name", container.Spec{User: "33"}, append(userCaps(""), "process.user.uid=33", "process.user.gid=33", "process.user.additionalGids=40", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/var/www LANG=C")},
		{"user and group by name", container.Spec{User: "web:disk"}, append(userCaps(""), "process.user.uid=33", "process.user.gid=6", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/var/www LANG=C")},
		{"group of root", container.Spec{User: ":logs"}, []string{"process.user.gid=40"}},
		{"groups", container.Spec{Groups: []string{"logs", "77", "logs"}}, []string{"process.user.additionalGids=40 77"}},
		{"user without a home", container.Spec{User: "nohome"}, append(userCaps(""), "process.user.uid=34", "process.user.gid=34", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/ LANG=C")},

		{"cap-add", container.Spec{CapAdd: []string{"sys_admin"}}, rootCaps(strings.Replace(defaultSet, "CAP_SYS_CHROOT", "CAP_SYS_ADMIN CAP_SYS_CHROOT", 1))},
		{"cap-drop", container.Spec{CapDrop: []string{"CAP_CHOWN", "kill"}}, rootCaps(strings.NewReplacer("CAP_CHOWN ", "", "CAP_KILL ", "").Replace(defaultSet))},
		{"cap-drop all", container.Spec{CapDrop: []string{"ALL"}}, rootCaps("")},
		{"cap-drop all, cap-add one", container.Spec{CapDrop: []string{"all"}, CapAdd: []string{"CHOWN"}}, rootCaps("CAP_CHOWN")},
		{"cap-add all, cap-drop all but one", container.Spec{CapAdd: []string{"ALL"}, CapDrop: slices.DeleteFunc(slices.Clone(allCaps), func(s string) bool { return s == "CAP_CHOWN" })}, rootCaps("CAP_CHOWN")},
		{"cap-add of a user", container.Spec{User: "1000", CapAdd: []string{"net_raw", "CAP_NET_RAW"}}, append(userCaps("CAP_NET_RAW"),
			"process.capabilities.bounding="+strings.Replace(defaultSet, "CAP_SETFCAP", "CAP_NET_RAW CAP_SETFCAP", 1),
			"process.user.uid=1000", "process.env=PATH=/bin container=berth HOSTNAME=0123456789ab HOME=/ LANG=C")},

		{"network none", container.Spec{Network: "none"}, nil},
		{"network host", container.Spec{Network: "host"}, append(hostSys,
			"-linux.namespaces[network].type", "hostname="+hostName, "process.env=PATH=/bin container=berth HOSTNAME="+hostName+" HOME=/root LANG=C")},
		{"network host, own name", container.Spec{Network: "host", Hostname: "h"}, append(hostSys,
			"-linux.namespaces[network].type", "hostname=h", "process.env=PATH=/bin container=berth HOSTNAME=h HOME=/root LANG=C")},
		{"network ns", container.Spec{Network: "ns:/run/netns/x"}, append(hostSys, "linux.namespaces[network].path=/run/netns/x")},
		{"pid host", container.Spec{PID: "host"}, []string{"-linux.namespaces[pid].type"}},
		{"uts host", container.Spec{UTS: "host"}, []string{"-linux.namespaces[uts].type", "-hostname", "process.env=PATH=/bin container=berth HOSTNAME=" + hostName + " HOME=/root LANG=C"}},
		{"cgroupns host", container.Spec{Cgroupns: "host"}, []string{"-linux.namespaces[cgroup].type"}},
		{"ipc shareable", container.Spec{IPC: "shareable"}, nil},
		{"ipc host", container.Spec{IPC: "host"}, []string{
			"-linux.namespaces[ipc].type",
			"mounts[/dev/mqueue].options=rbind nosuid noexec nodev", "mounts[/dev/mqueue].source=/dev/mqueue", "mounts[/dev/mqueue].type=bind",
			"mounts[/dev/shm].options=rbind nosuid noexec nodev", "mounts[/dev/shm].source=/dev/shm", "mounts[/dev/shm].type=bind",
		}},

		{"no-new-privileges", container.Spec{SecurityOpt: []string{"no-new-privileges"}}, []string{"process.noNewPrivileges=true"}},
		{"no-new-privileges taken back", container.Spec{SecurityOpt: []string{"no-new-privileges:true", "no-new-privileges=false"}}, nil},
		{"seccomp unconfined", container.Spec{SecurityOpt: []string{"seccomp=unconfined"}}, []string{"linux.seccomp=none"}},
		{"seccomp unconfined, the old way", container.Spec{SecurityOpt: []string{"seccomp:unconfined"}}, []string{"linux.seccomp=none"}},
		{"seccomp file", container.Spec{SecurityOpt: []string{"seccomp=" + profile}}, []string{"linux.seccomp=SCMP_ACT_LOG"}},
		{"apparmor and label", container.Spec{SecurityOpt: []string{"apparmor=unconfined", "label=disable", "label:disable"}}, nil},
		{"mask", container.Spec{SecurityOpt: []string{"mask=/a:/b", "mask=/c"}}, []string{"linux.maskedPaths=" + strings.Join(maskedPaths, " ") + " /a /b /c"}},
		{"unmask", container.Spec{SecurityOpt: []string{"unmask=/proc/[a-k]*:/sys/firmware"}}, []string{
			"linux.maskedPaths=/proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/fs/selinux",
			"linux.readonlyPaths=/proc/sys /proc/sysrq-trigger",
		}},
		{"systempaths", container.Spec{SecurityOpt: []string{"systempaths=unconfined"}}, []string{"-linux.maskedPaths", "-linux.readonlyPaths"}},
		{"unmask all", container.Spec{SecurityOpt: []string{"unmask=ALL"}}, []string{"-linux.maskedPaths", "-linux.readonlyPaths"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := flatten(t, testConfig(t, new(container.Spec)))
			got := differences(base, flatten(t, testConfig(t, &tt.spec)))
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" && len(tt.want)+len(got) > 0 {
				t.Errorf("what is different from the default (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrivileged(t *testing.T) {
	s := &container.Spec{Privileged: true}
	c := testConfig(t, s)
	if c.Linux.Seccomp != nil || len(c.Linux.MaskedPaths)+len(c.Linux.ReadonlyPaths) > 0 {
		t.Errorf("got seccomp %v, masked %v, read-only %v", c.Linux.Seccomp, c.Linux.MaskedPaths, c.Linux.ReadonlyPaths)
	}
	if diff := cmp.Diff(len(knownCaps()), len(c.Process.Capabilities.Effective)); diff != "" {
		t.Errorf("capabilities: %s", diff)
	}
	if diff := cmp.Diff([]specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}, c.Linux.Resources.Devices); diff != "" {
		t.Errorf("device rules:\n%s", diff)
	}
	for _, d := range c.Linux.Devices {
		if isDefaultDevice(d.Path) || strings.HasPrefix(d.Path, "/dev/pts/") {
			t.Errorf("device %s is made by the runtime", d.Path)
		}
	}
	for _, m := range c.Mounts {
		if (m.Destination == "/sys" || m.Destination == "/sys/fs/cgroup") && !slices.Contains(m.Options, "rw") {
			t.Errorf("%s: got %v", m.Destination, m.Options)
		}
	}
	// What was asked for by name holds all the same.
	s.SecurityOpt = []string{"mask=/proc/keys", "no-new-privileges"}
	s.CapDrop = []string{"SYS_ADMIN"}
	c = testConfig(t, s)
	if !slices.Equal(c.Linux.MaskedPaths, []string{"/proc/keys"}) || !c.Process.NoNewPrivileges || slices.Contains(c.Process.Capabilities.Bounding, "CAP_SYS_ADMIN") {
		t.Errorf("got masked %v, no new privileges %v, capabilities %v", c.Linux.MaskedPaths, c.Process.NoNewPrivileges, c.Process.Capabilities.Bounding)
	}
	profile := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_LOG"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.SecurityOpt = []string{"seccomp=" + profile}
	if c = testConfig(t, s); c.Linux.Seccomp == nil || c.Linux.Seccomp.DefaultAction != "SCMP_ACT_LOG" {
		t.Errorf("a seccomp profile that was asked for: got %v", c.Linux.Seccomp)
	}
}

// The default profile follows the capabilities.
func TestSeccompFollowsCapabilities(t *testing.T) {
	allows := func(c *specs.Spec, call string) bool {
		return slices.ContainsFunc(c.Linux.Seccomp.Syscalls, func(s specs.LinuxSyscall) bool {
			return s.Action == specs.ActAllow && len(s.Args) == 0 && slices.Contains(s.Names, call)
		})
	}
	plain, admin := testConfig(t, new(container.Spec)), testConfig(t, &container.Spec{CapAdd: []string{"SYS_ADMIN"}})
	if allows(plain, "mount") || !allows(plain, "read") || !allows(admin, "mount") {
		t.Errorf("mount %t, read %t; with SYS_ADMIN mount %t", allows(plain, "mount"), allows(plain, "read"), allows(admin, "mount"))
	}
}

func TestBadSpecs(t *testing.T) {
	dir := t.TempDir()
	for want, s := range map[string]container.Spec{
		`user "nobody"`:                  {User: "nobody"},
		`user "web:nogroup"`:             {User: "web:nogroup"},
		`user "-1"`:                      {User: "-1"},
		`user "4294967296"`:              {User: "4294967296"},
		"group-add nogroup":              {Groups: []string{"nogroup"}},
		`umask "8"`:                      {Umask: "8"},
		`umask "1000"`:                   {Umask: "1000"},
		`umask "-1"`:                     {Umask: "-1"},
		`workdir "srv"`:                  {WorkDir: "srv"},
		`cap-add "FLY"`:                  {CapAdd: []string{"FLY"}},
		`cap-drop ""`:                    {CapDrop: []string{""}},
		`pid "hots"`:                     {PID: "hots"},
		`network "bridge"`:               {Network: "bridge"},
		`ipc "ns:rel"`:                   {IPC: "ns:rel"},
		`cgroupns "container:x"`:         {Cgroupns: "container:x"},
		`"no-new-privileges=maybe"`:      {SecurityOpt: []string{"no-new-privileges=maybe"}},
		`"seccomp"`:                      {SecurityOpt: []string{"seccomp"}},
		`"mask="`:                        {SecurityOpt: []string{"mask="}},
		`"mask=proc"`:                    {SecurityOpt: []string{"mask=proc"}},
		`"unmask=proc"`:                  {SecurityOpt: []string{"unmask=proc"}},
		`"systempaths=x"`:                {SecurityOpt: []string{"systempaths=x"}},
		`sysctl "kernel.panic"`:          {Sysctls: map[string]string{"kernel.panic": "1"}},
		`sysctl "net/../kernel/panic"`:   {Sysctls: map[string]string{"net/../kernel/panic": "1"}},
		`sysctl "kernel.hostname"`:       {Sysctls: map[string]string{"kernel.hostname": "x"}},
		`sysctl "net.ipv4.ip_forward"`:   {Network: "host", Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}},
		`sysctl "kernel/sem"`:            {IPC: "host", Sysctls: map[string]string{"kernel/sem": "1"}},
		`sysctl ""`:                      {Sysctls: map[string]string{"": "1"}},
		`"apparmor="`:                    {SecurityOpt: []string{"apparmor="}},
		`"apparmor=a\nb"`:                {SecurityOpt: []string{"apparmor=a\nb"}},
		`"label=x"`:                      {SecurityOpt: []string{"label=x"}},
		`"fly=high"`:                     {SecurityOpt: []string{"fly=high"}},
		`""`:                             {SecurityOpt: []string{""}},
		"seccomp profile: open /missing": {SecurityOpt: []string{"seccomp=/missing"}},
		"device /dev/missing":            {Devices: []container.Device{{Source: "/dev/missing"}}},
		"device " + dir + "/f":           {Devices: []container.Device{{Source: dir + "/f"}}},
		`access "x"`:                     {Devices: []container.Device{{Source: "/dev/null", Access: "x"}}},
		`mount "rel"`:                    {Mounts: []container.Mount{{Type: "tmpfs", Destination: "rel"}}},
		`mount "/x/.."`:                  {Mounts: []container.Mount{{Type: "tmpfs", Destination: "/x/.."}}},
		"source /missing":                {Mounts: []container.Mount{{Type: "bind", Source: "/missing", Destination: "/x"}}},
		`source "etc"`:                   {Mounts: []container.Mount{{Type: "bind", Source: "etc", Destination: "/x"}}},
		`type "volume"`:                  {Mounts: []container.Mount{{Type: "volume", Source: "v", Destination: "/x"}}},
		"two mounts":                     {Mounts: []container.Mount{{Type: "tmpfs", Destination: "/x"}, {Type: "tmpfs", Destination: "/x/"}}},
	} {
		if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Config(testInput(t, &s))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v", want, c != nil, err)
		}
	}
}

// Only the cgroup's path is put in its place, whatever a user writes elsewhere.
func TestSetCgroup(t *testing.T) {
	const p = container.CgroupPlaceholder
	tricky := []string{"A=" + p, `B="cgroupsPath":"` + p + `"`, "C=\"", p + "="}
	c := testConfig(t, &container.Spec{Env: tricky, Args: append([]string{"echo"}, tricky...), Annotations: map[string]string{"cgroupsPath": p, p: "x"}})
	data, err := ocijson.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/machine.slice/berth-web.service/container", `/a\x2db.slice/"q"/container`} {
		set, err := container.SetCgroup(data, path)
		if err != nil {
			t.Fatal(err)
		}
		var got specs.Spec
		if err := json.Unmarshal(set, &got); err != nil {
			t.Fatal(err)
		}
		want := *c
		linux := *c.Linux
		linux.CgroupsPath = path
		want.Linux = &linux
		if diff := cmp.Diff(&want, &got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if _, err := container.SetCgroup([]byte(`{"linux":{}}`), "/x"); err == nil {
		t.Error("a configuration without the place for it is taken")
	}
}

// The profile is the process's, and changes nothing else.
func TestSetAppArmor(t *testing.T) {
	const place = `"process":{`
	for _, s := range []*container.Spec{
		{Env: []string{"A=" + place}, Annotations: map[string]string{"process": place}},
		{TTY: true, Hostname: "process", Args: []string{place}},
	} {
		c := testConfig(t, s)
		data, err := ocijson.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, profile := range []string{"berth-default", `a "b" \ (c)`} {
			set, err := container.SetAppArmor(data, profile)
			if err != nil {
				t.Fatal(err)
			}
			var got specs.Spec
			if err := json.Unmarshal(set, &got); err != nil {
				t.Fatal(err)
			}
			want := *c
			process := *c.Process
			process.ApparmorProfile = profile
			want.Process = &process
			if diff := cmp.Diff(&want, &got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
	if _, err := container.SetAppArmor([]byte(`{"linux":{}}`), "x"); err == nil {
		t.Error("a configuration without the place for it is taken")
	}
}

func TestAppArmor(t *testing.T) {
	for _, tt := range []struct {
		spec container.Spec
		want string
	}{
		{container.Spec{}, ""},
		{container.Spec{SecurityOpt: []string{"apparmor=mine"}}, "mine"},
		{container.Spec{SecurityOpt: []string{"apparmor:mine", "apparmor=other"}}, "other"},
		{container.Spec{SecurityOpt: []string{"apparmor=unconfined"}}, "unconfined"},
		{container.Spec{Privileged: true}, "unconfined"},
		{container.Spec{Privileged: true, SecurityOpt: []string{"apparmor=mine"}}, "mine"},
	} {
		if got, err := AppArmor(&tt.spec); got != tt.want || err != nil {
			t.Errorf("%v, privileged %v: got %q, %v, want %q", tt.spec.SecurityOpt, tt.spec.Privileged, got, err, tt.want)
		}
	}
	if _, err := AppArmor(&container.Spec{SecurityOpt: []string{"apparmor="}}); err == nil {
		t.Error("a profile without a name is taken")
	}
}

// Who shares a network shares its names, and where to ask for others.
func TestSharedNetwork(t *testing.T) {
	in := testInput(t, &container.Spec{Network: "container:x"})
	in.Join = map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "/proc/1/ns/net"}
	in.NetDir = "/other"
	c, err := Config(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"/etc/hosts": "/other/hosts", "/etc/resolv.conf": "/other/resolv.conf", "/etc/hostname": in.Dir + "/hostname"}
	for _, m := range c.Mounts {
		if w, ok := want[m.Destination]; ok && m.Source != w {
			t.Errorf("%s is %s, want %s", m.Destination, m.Source, w)
		}
	}
}

func TestJoin(t *testing.T) {
	in := testInput(t, &container.Spec{PID: "container:x", Network: "container:x"})
	in.Join = map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "/proc/1/ns/pid", specs.NetworkNamespace: "/proc/1/ns/net"}
	c, err := Config(in)
	if err != nil {
		t.Fatal(err)
	}
	got := map[specs.LinuxNamespaceType]string{}
	for _, n := range c.Linux.Namespaces {
		got[n.Type] = n.Path
	}
	want := map[specs.LinuxNamespaceType]string{"mount": "", "pid": "/proc/1/ns/pid", "network": "/proc/1/ns/net", "ipc": "", "uts": "", "cgroup": ""}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDevices(t *testing.T) {
	c := testConfig(t, &container.Spec{Devices: []container.Device{{Source: "/dev/zero", Destination: "/dev/other", Access: "r"}, {Source: "/dev/null"}}})
	var got []string
	for _, d := range c.Linux.Devices {
		got = append(got, fmt.Sprintf("%s %s %d:%d", d.Path, d.Type, d.Major, d.Minor))
	}
	if diff := cmp.Diff([]string{"/dev/other c 1:5", "/dev/null c 1:3"}, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	rules := c.Linux.Resources.Devices
	if rules[0].Allow || rules[0].Access != "rwm" {
		t.Errorf("the first rule does not forbid all: %+v", rules[0])
	}
	if r := rules[len(rules)-2]; !r.Allow || r.Access != "r" || *r.Major != 1 || *r.Minor != 5 {
		t.Errorf("got rule %+v", r)
	}
	for _, r := range rules[1:] {
		if r.Type == "" || r.Major == nil && r.Access != "m" {
			t.Errorf("rule %+v allows too much", r)
		}
	}
	// A directory stands for what is in it; a link for what it leads to.
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	nodes, err := deviceNodes(filepath.Join(dir, "link"), "/dev/x")
	if err != nil || len(nodes) != 1 || nodes[0].Path != "/dev/x" || nodes[0].Minor != 3 {
		t.Errorf("link: got %+v, %v", nodes, err)
	}
	if nodes, err := deviceNodes(dir, "/dev/d"); err != nil || len(nodes) != 0 {
		t.Errorf("directory without devices: got %+v, %v", nodes, err)
	}
}

func FuzzSecurityOpt(f *testing.F) {
	for _, s := range []string{"no-new-privileges", "seccomp=unconfined", "mask=/a:/b", "unmask=ALL", "label:disable", "apparmor=unconfined", "mask=:", "unmask=[", "=", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, opt string) {
		sec, err := parseSecurity([]string{opt})
		if err != nil {
			if !strings.Contains(err.Error(), "security-opt") || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("%q: the error is %q", opt, err)
			}
			return
		}
		for _, p := range slices.Concat(sec.mask, sec.unmask) {
			if !filepath.IsAbs(p) {
				t.Errorf("%q: path %q", opt, p)
			}
		}
		for _, p := range sec.hide(maskedPaths) {
			if !slices.Contains(maskedPaths, p) {
				t.Errorf("%q: hides %q", opt, p)
			}
		}
		if len(sec.unmask) == 0 && !sec.unmaskAll && len(sec.hide(maskedPaths)) != len(maskedPaths) {
			t.Errorf("%q unmasks", opt)
		}
	})
}

// What is dropped by name is gone even where everything is given.
func TestCapabilitiesDropped(t *testing.T) {
	for _, tt := range []struct {
		name      string
		add, drop []string
		want      func(all []string) []string
	}{
		{"nothing", nil, nil, func(all []string) []string { return all }},
		{"one", nil, []string{"chown"}, func(all []string) []string {
			return slices.DeleteFunc(all, func(c string) bool { return c == "CAP_CHOWN" })
		}},
		{"all", nil, []string{"ALL"}, func([]string) []string { return nil }},
		{"all but one", []string{"CHOWN"}, []string{"all"}, func([]string) []string { return []string{"CAP_CHOWN"} }},
	} {
		got, err := Capabilities(true, tt.add, tt.drop)
		all := knownCaps()
		slices.Sort(all)
		if err != nil || !slices.Equal(got, tt.want(all)) {
			t.Errorf("privileged, %s dropped: got %v, %v", tt.name, got, err)
		}
	}
	for name, want := range map[string]string{"net_admin": "CAP_NET_ADMIN", "CAP_CHOWN": "CAP_CHOWN", "all": "ALL", "CAP_ALL": "ALL"} {
		if got := CapName(name); got != want {
			t.Errorf("name of %s: got %s, want %s", name, got, want)
		}
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a container sees of its options: berth run --rm OPTIONS busybox sh -c SCRIPT prints want.
func TestOptions(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "from the host\n")
	envFile := write(t, filepath.Join(dir, "env"), "# comment\nFROM_FILE=a b=c\n\nHANDED\nEMPTY=\n")
	labels := write(t, filepath.Join(dir, "labels"), "one=1\ntwo=2,3\n")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options []string
		script  string
		want    string // a regular expression for all of the output
	}{
		{"env", strings.Fields("-e A=1,2 --env=B= -e HANDED"), `echo "[$A] [${B-unset}] [$HANDED]"`, `\[1,2\] \[\] \[from outside\]`},
		{"env file", []string{"--env-file", envFile, "-e", "EMPTY=no more"}, `echo "[$FROM_FILE] [$HANDED] [$EMPTY]"`, `\[a b=c\] \[from outside\] \[no more\]`},
		{"environment is the image's and no more", nil, "env | sort | cut -d= -f1 | tr '\n' ' '", `HOME HOSTNAME PATH (PWD )?(SHLVL )?(container )?`},
		{"user", []string{"-u", "1000:2000"}, `id -u; id -g`, "1000\n2000"},
		{"user by name", []string{"-u", "nobody"}, `id -un; id -gn; echo $HOME`, "nobody\nnogroup\n/"},
		{"groups", []string{"-u", "1000", "--group-add", "44", "--group-add", "nogroup"}, "id -G", "0 44 65534|44 65534 0"},
		{"workdir", []string{"-w", "/made/for/it"}, "pwd", "/made/for/it"},
		{"hostname", []string{"--hostname", "here.example"}, "hostname; cat /etc/hostname; echo $HOSTNAME; grep -c here.example /etc/hosts",
			"here.example\nhere.example\nhere.example\n1"},
		{"hostname by default", nil, "hostname | wc -c; test $(hostname) = $(cat /etc/hostname) && grep -cw $(hostname) /etc/hosts", "13\n1"},
		{"hosts", strings.Fields("--add-host db:10.1.2.3 --add-host six:[::7]"), `grep -E 'db|six|localhost' /etc/hosts | tr -s '\t ' ' '`,
			`(?s).*127.0.0.1 localhost.*10.1.2.3 db\n::7 six`},
		{"resolv.conf", strings.Fields("--dns 10.9.9.9 --dns-search example.org --dns-option ndots:3"), "cat /etc/resolv.conf",
			`(?s).*nameserver 10.9.9.9.*`},
		{"resolv.conf's search and options", strings.Fields("--dns-search example.org --dns-option ndots:3"), "grep -E 'search|options' /etc/resolv.conf | sort",
			"options ndots:3\nsearch example.org"},
		{"no network", nil, "ip -o link | wc -l; ip -o addr show lo | grep -c 127.0.0.1", "1\n1"},
		{"host's network", []string{"--network", "host"}, "readlink /proc/self/ns/net", regexp.QuoteMeta(readlink("/proc/self/ns/net"))},
		{"read-only", []string{"--read-only"}, "touch /x 2>&1; touch /tmp/x /run/x /var/tmp/x /dev/shm/x && echo but these", "touch: /x: Read-only file system\nbut these"},
		{"read-only, and what was there", []string{"--read-only", "--tmpfs", "/etc:rw,tmpcopyup"}, "stat -c '%a %U' /etc /etc/passwd; wc -l </etc/hosts >/dev/null && touch /etc/x && touch /usr/x 2>&1",
			"(755|1777) root\n644 root\ntouch: /usr/x: (Read-only file system|No such file or directory)"},
		{"read-only, all of it", []string{"--read-only", "--read-only-tmpfs=false"}, "touch /tmp/x 2>&1", "touch: /tmp/x: Read-only file system"},
		{"volume", []string{"-v", dir + ":/data"}, "cat /data/file; touch /data/new; rm /data/new", "from the host"},
		{"read-only volume", []string{"-v", dir + ":/data:ro"}, "cat /data/file; touch /data/new 2>&1", "from the host\ntouch: /data/new: Read-only file system"},
		{"volume of a file", []string{"-v", dir + "/file:/deep/down/file:ro"}, "cat /deep/down/file", "from the host"},
		{"bind mount", []string{"--mount", "type=bind,source=" + dir + ",destination=/data,ro"}, "cat /data/file; touch /data/x 2>&1",
			"from the host\ntouch: /data/x: Read-only file system"},
		{"tmpfs", []string{"--tmpfs", "/fast:size=1m,mode=1750"}, "stat -c %a /fast; df -k /fast | tail -1 | tr -s ' ' | cut -d' ' -f2; echo x > /fast/x", "1750\n1024"},
		{"tmpfs by mount", []string{"--mount", "type=tmpfs,dst=/fast,tmpfs-size=2m"}, "df -k /fast | tail -1 | tr -s ' ' | cut -d' ' -f2", "2048"},
		{"shm size", []string{"--shm-size", "3m"}, "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "3072"},
		{"capabilities by default", nil, "grep Cap /proc/self/status | tr -d '\t'",
			"CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\nCapBnd:00000000a80425fb\nCapAmb:0000000000000000|" +
				"CapInh:0000000000000000\nCapPrm:00000000800405fb\nCapEff:00000000800405fb\nCapBnd:00000000800405fb\nCapAmb:0000000000000000"},
		{"no capabilities", []string{"--cap-drop", "all"}, "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | tr -d '\t'",
			"CapPrm:0000000000000000\nCapEff:0000000000000000\nCapBnd:0000000000000000"},
		{"one capability", []string{"--cap-drop=ALL", "--cap-add=net_raw"}, "grep CapEff /proc/self/status", "CapEff:\t0000000000002000"},
		{"a user has none", []string{"-u", "1000"}, "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"},
		{"seccomp", nil, "grep -w Seccomp: /proc/self/status; unshare -U true 2>&1 | grep -c 'not permitted'", "Seccomp:\t2\n1"},
		{"no seccomp", []string{"--security-opt", "seccomp=unconfined"}, "grep -w Seccomp: /proc/self/status", "Seccomp:\t0"},
		{"no new privileges", []string{"--security-opt", "no-new-privileges"}, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"},
		{"masked path", []string{"--security-opt", "mask=/etc/passwd"}, "wc -c </etc/passwd", "0"},
		{"paths masked by default", nil, "cat /proc/keys /proc/timer_list 2>/dev/null | wc -c; touch /proc/sys/kernel/domainname 2>&1 | grep -c Read-only", "0\n1"},
		{"paths unmasked", []string{"--security-opt", "systempaths=unconfined"}, "grep -c -E ' /proc/(sys|keys|timer_list) ' /proc/self/mountinfo", "0"},
		{"ulimits", strings.Fields("--ulimit nofile=100:200 --ulimit core=0"), "ulimit -Sn; ulimit -Hn; ulimit -c", "100\n200\n0"},
		{"sysctl", []string{"--sysctl", "net.ipv4.ip_unprivileged_port_start=7", "--sysctl=net.ipv4.ping_group_range=0 5"},
			"cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range", "7\n0\t5"},
		{"text of the cgroup's place", []string{"-e", "PLACE=/@BERTH-CGROUP@"}, "echo $PLACE", "/@BERTH-CGROUP@"},
		{"umask", []string{"--umask", "0027"}, "umask", "0027"},
		{"time zone", []string{"--tz", "Asia/Tokyo"}, "test -s /etc/localtime && echo $TZ", "(Asia/Tokyo)?"},
		{"entrypoint", []string{"--entrypoint", "echo"}, "hello", "sh -c hello"},
		{"host's pids", []string{"--pid", "host"}, "readlink /proc/self/ns/pid; cat /proc/1/comm", regexp.QuoteMeta(readlink("/proc/self/ns/pid")) + "\nsystemd"},
		{"host's ipc", []string{"--ipc", "host"}, "readlink /proc/self/ns/ipc", regexp.QuoteMeta(readlink("/proc/self/ns/ipc"))},
		{"host's uts", []string{"--uts", "host"}, "readlink /proc/self/ns/uts; hostname", regexp.QuoteMeta(readlink("/proc/self/ns/uts")) + "\n" + hostname()},
		{"own cgroup namespace", nil, "grep ^0:: /proc/self/cgroup", "0::/"},
		{"host's cgroup namespace", []string{"--cgroupns", "host", "--name", "cg"}, "grep ^0:: /proc/self/cgroup", ".*/machine-berth.slice/berth-cg.service/container"},
		{"slice", []string{"--cgroupns", "host", "--slice", "e2e-other.slice"}, "grep ^0:: /proc/self/cgroup", ".*/e2e-other.slice/berth-.*"},
		{"privileged", []string{"--privileged"}, "grep -w Seccomp: /proc/self/status; mkdir /m && mount -t tmpfs none /m && echo mounted", "Seccomp:\t0\nmounted"},
		{"device", []string{"--device", "/dev/null:/dev/hole:rw"}, "echo x > /dev/hole && stat -c '%t %T %F' /dev/hole", "1 3 character special file"},
		{"devices by default", nil, "ls /dev | tr '\n' ' '", "(core )?fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "},
		{"labels", []string{"--label-file", labels, "--label", "three=a=b"}, "true", ""},
		{"oom score", []string{"--oom-score-adj", "500"}, "cat /proc/self/oom_score_adj", "500"},
		{"pid 1", nil, "echo $$", "1"},
		{"image's files are whole", nil, "ls -ld / /root /tmp | cut -c1-10", "drwxr-xr-x\ndrwx------\ndrwxrwxrwt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			runtimes(t, func(t *testing.T, runtime string) {
				h := product(t)
				h.pull(busybox)
				t.Setenv("HANDED", "from outside")
				args := append([]string{"run", "--rm", "--runtime", runtime}, test.options...)
				r := h.berth(append(args, busybox, "sh", "-c", test.script)...)
				got := strings.TrimSuffix(r.stdout, "\n")
				if !regexp.MustCompile("^(?:"+test.want+")$").MatchString(got) || r.stderr != "" {
					h.Errorf("%v\n  want stdout %s", r, test.want)
				}
			})
		})
	}
}

// What cannot be is said in one line, and nothing is left.
func TestBadOptionValues(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("create", "--name", "still", busybox, "true")
	for _, test := range []struct{ options, word string }{
		{"--shm-size abc", "--shm-size"}, {"--shm-size -1", "--shm-size"},
		{"--ulimit nofile", "--ulimit"}, {"--ulimit nofile=x", "--ulimit"}, {"--ulimit nofile=5:4", "--ulimit"}, {"--ulimit nosuch=1", "--ulimit"},
		{"--sysctl net", "--sysctl"}, {"--sysctl kernel.panic=1", "kernel.panic"}, {"--network host --sysctl net.ipv4.ip_forward=1", "net.ipv4.ip_forward"},
		{"-m 20m --memory-swap 10m", "memory-swap"}, {"--memory-swap 10m", "memory-swap"}, {"-m 10m --memory-reservation 20m", "memory-reservation"},
		{"--network container:nobody", "nobody"}, {"--network container:still", "not running"}, {"--network container:still --dns 9.9.9.9", "dns"},
		{"--security-opt systempaths=some", "systempaths"}, {"--oom-score-adj 5000", "--oom-score-adj"}, {"--cpus x", "--cpus"}, {"--cpuset-cpus a", "--cpuset-cpus"},
	} {
		args := append([]string{"run", "--rm"}, strings.Fields(test.options)...)
		h.refuse(125, []string{test.word}, append(args, busybox, "true")...)
	}
	// What only the kernel knows.
	runtimes(t, func(t *testing.T, runtime string) {
		h := &host{TB: t, Env: h.Env}
		for _, test := range []struct{ options, word string }{
			{"--sysctl net.ipv4.ip_forward=maybe", "ip_forward"}, {"--sysctl net.none.such=1", "such"}, {"--ulimit nofile=5:9999999999", "not permitted"},
		} {
			args := append([]string{"run", "--rm", "--runtime", runtime}, strings.Fields(test.options)...)
			h.refuse(125, []string{test.word}, append(args, busybox, "true")...)
		}
	})
	h.want(0, "still\n", "rm", "still")
	h.nothingLeft()
}

// Who shares a container's network has its names and addresses too, at each start.
func TestSharedNetwork(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	first := func() {
		h.ok("run", "-d", "--name", "first", "--hostname", "first.example", "--add-host", "db:10.1.2.3", "--dns", "10.9.9.9", busybox, "sleep", "1000")
	}
	first()
	const look = "readlink /proc/self/ns/net; grep -c -E 'db|first.example' /etc/hosts; grep -c 10.9.9.9 /etc/resolv.conf"
	for _, runtime := range []string{"berth-runtime", "crun", "runc"} {
		net := h.ok("exec", "first", "readlink", "/proc/self/ns/net")
		h.want(0, net+"\n2\n1\n", "run", "--rm", "--runtime", runtime, "--network", "container:first", busybox, "sh", "-c", look)
	}
	h.ok("create", "--name", "second", "--network", "container:first", busybox, "sh", "-c", look)
	h.ok("rm", "-f", "-t", "0", "first")
	h.refuse(125, []string{"first"}, "start", "-a", "second")
	first()
	h.want(0, h.ok("exec", "first", "readlink", "/proc/self/ns/net")+"\n2\n1\n", "start", "-a", "second")
	h.ok("rm", "-f", "-t", "0", "first", "second")
	h.nothingLeft()
}

func readlink(path string) string {
	target, _ := os.Readlink(path)
	return target
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

// Options mean the same in every following start and in inspect.
func TestOptionsAreKept(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	dir := t.TempDir()
	cid := filepath.Join(dir, "cid")
	id := h.ok("create", "--name", "kept", "--cidfile", cid, "-e", "A=1,2", "--label", "a=b", "--label", "c", "--annotation", "x.y=z",
		"-v", dir+":/data:ro", "--ulimit", "nofile=100:200", "--stop-signal", "USR1", "--stop-timeout", "3", "--restart", "on-failure:4",
		"--cap-add", "NET_ADMIN", "--hostname", "kept", "-w", "/tmp", "-u", "1000", "--group-add", "44", busybox, "sh", "-c", "echo $A $(pwd) $(id -u)")
	if data, err := os.ReadFile(cid); err != nil || strings.TrimSpace(string(data)) != id {
		h.Errorf("cidfile has %q, %v, want %s", data, err, id)
	}
	h.refuse(125, []string{cid}, "create", "--cidfile", cid, busybox)
	for format, want := range map[string]string{
		"{{.Id}}":                                  id,
		"{{.Name}}":                                "kept",
		"{{.State.Status}}":                        "created",
		"{{.Config.Hostname}}":                     "kept",
		"{{.Config.WorkingDir}}":                   "/tmp",
		"{{.Config.User}}":                         "1000",
		"{{.HostConfig.RestartPolicy.Name}}":       "on-failure",
		"{{json .Config.Labels}}":                  `{"a":"b","c":""}`,
		"{{index .Config.Labels \"a\"}}":           "b",
		"{{(index .Mounts 0).Destination}}":        "/data",
		"{{(index .Mounts 0).RW}}":                 "false",
		"{{range .HostConfig.CapAdd}}{{.}}{{end}}": "CAP_NET_ADMIN",
		"{{.Config.StopSignal}}":                   "SIGUSR1",
		"{{.Config.StopTimeout}}":                  "3",
	} {
		if got := h.ok("inspect", "--format", format, "kept"); got != want {
			h.Errorf("inspect --format %s: got %q, want %q", format, got, want)
		}
	}
	for range 2 {
		h.want(0, "1,2 /tmp 1000\n", "start", "-a", "kept")
	}
	var all []map[string]any
	if err := json.Unmarshal([]byte(h.ok("inspect", "kept")), &all); err != nil || len(all) != 1 {
		h.Errorf("inspect prints no list of one: %v", err)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(h.ok("ps", "-a", "--format", "json")), &rows); err != nil || len(rows) != 1 {
		h.Errorf("ps --format json prints no list of one: %v\n%s", err, h.ok("ps", "-a", "--format", "json"))
	}
	h.ok("create", "--name", "other", "--label", "a=c", busybox, "true")
	for filter, want := range map[string]string{
		"label=a":         "other kept",
		"label=a=b":       "kept",
		"label=c":         "kept",
		"name=oth":        "other",
		"status=created":  "other",
		"status=exited":   "kept",
		"exited=0":        "kept",
		"id=" + id[:8]:    "kept",
		"ancestor=" + id:  "",
		"since=kept":      "other",
		"before=other":    "kept",
		"status=running":  "",
		"label=a=nothing": "",
	} {
		got := strings.Join(strings.Fields(h.ok("ps", "-a", "--filter", filter, "--format", "{{.Names}}")), " ")
		if got != want && got != reverse(want) {
			h.Errorf("ps --filter %s: got %q, want %q", filter, got, want)
		}
	}
}

func reverse(s string) string {
	f := strings.Fields(s)
	for i, j := 0, len(f)-1; i < j; i, j = i+1, j-1 {
		f[i], f[j] = f[j], f[i]
	}
	return strings.Join(f, " ")
}

func TestInit(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		h.want(42, "", "run", "--rm", "--init", "--runtime", runtime, busybox, "sh", "-c", "exit 42")
		h.want(137, "", "run", "--rm", "--init", "--runtime", runtime, busybox, "sh", "-c", "kill -9 $$")
		h.refuse(127, []string{"nowhere-to-be-found"}, "run", "--rm", "--init", "--runtime", runtime, busybox, "nowhere-to-be-found")
		h.ok("run", "-d", "--name", "inited", "--init", "--runtime", runtime, busybox, "sh", "-c",
			`trap 'echo got term; exit 5' TERM; (sh -c 'sleep 0.1' & exec sleep 0.05) & echo up; while :; do usleep 10000; done`)
		h.logs("inited", "up")
		if got := h.ok("exec", "inited", "cat", "/proc/1/comm"); got != "berth-init" {
			h.Errorf("process 1 is %q", got)
		}
		h.eventually("reaping", func() error {
			got := h.berth("exec", "inited", "sh", "-c", "grep -l 'State:.Z' /proc/[0-9]*/status; grep -c . /proc/[0-9]*/comm | grep -c .").stdout
			if strings.Contains(got, "status") {
				return fmt.Errorf("zombies: %s", got)
			}
			return nil
		})
		h.want(0, "inited\n", "stop", "inited")
		h.want(0, "5\n", "wait", "inited")
		if got := h.ok("logs", "inited"); got != "up\ngot term" {
			h.Errorf("log %q", got)
		}
		h.want(0, "inited\n", "rm", "inited")
		h.nothingLeft()
	})
}

func TestRootfs(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		dir := filepath.Join(t.TempDir(), "root fs")
		h.sh("mkdir -p '" + dir + "'/bin '" + dir + "'/tmp && cp $(ls /var/lib/berth/images/layers/*/bin/busybox | head -n 1) '" + dir + "'/bin/ && ln -s busybox '" + dir + "'/bin/sh")
		h.want(4, "hi\n", "run", "--rm", "--runtime", runtime, "--rootfs", dir, "/bin/sh", "-c", "echo hi; echo x >/tmp/made; exit 4")
		if data, err := os.ReadFile(dir + "/tmp/made"); err != nil || string(data) != "x\n" {
			h.Errorf("the directory has %q, %v: it is the root file system itself", data, err)
		}
		h.want(0, "hi\n", "run", "--rm", "--read-only", "--runtime", runtime, "--rootfs="+dir, "/bin/sh", "-c", "echo hi")
		h.nothingLeft()
		if _, err := os.Stat(dir + "/bin/busybox"); err != nil {
			h.Error(err)
		}
	})
}

// A mount that the host makes under a shared volume shows in the container, and one that a container makes under an
// rshared one shows on the host; nothing else does.
func TestPropagation(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	dir := t.TempDir()
	for _, sub := range []string{"slave", "shared", "private"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("base", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	h.sh("mkdir -p " + dir + "/m " + dir + "/in")
	defer h.sh("umount " + dir + "/in " + dir + "/m")
	h.ok("run", "-d", "--name", "prop", "--privileged", "-v", dir+":/slave:rslave", "-v", dir+":/shared:rshared", "-v", dir+":/private", busybox, "sleep", "1000")
	if err := unix.Mount("seen", dir+"/m", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	got := h.ok("exec", "prop", "sh", "-c", "cut -d' ' -f5 /proc/self/mountinfo | grep /m$ | sort | tr '\n' ' '")
	if got != "/shared/m /slave/m " {
		h.Errorf("a mount of the host's shows in %s, want shared and slave", got)
	}
	h.ok("exec", "prop", "mount", "-t", "tmpfs", "inner", "/shared/in")
	if r := h.sh("findmnt -n -o SOURCE " + dir + "/in"); r.stdout != "inner\n" {
		h.Errorf("a mount in an rshared volume does not reach the host: %v", r)
	}
	h.ok("rm", "-f", "-t", "0", "prop")
}

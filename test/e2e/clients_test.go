package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// clients_test.go has Podman, Docker Engine and containerd run containers with our runtime, and, so that a row is known
// to be fair, with the runtime that each is delivered with.

// client is one of them, with one runtime.
type client struct {
	*host
	tool    string // podman, docker or ctr
	runtime string // short name
	path    string
	systemd bool   // whose cgroups are systemd's units
	name    string // of the row's container
	before  int    // things there that a row could leave
}

// only skips a row for other tools.
func (c *client) only(tools ...string) {
	c.Helper()
	if !slices.Contains(tools, c.tool) {
		c.Skipf("%s has no such thing", c.tool)
	}
}

// tell runs the client's command.
func (c *client) tell(args ...string) result {
	c.Helper()
	argv := c.command(args)
	return c.start(nil, argv[0], argv[1:]...).end()
}

func (c *client) command(args []string) []string {
	switch c.tool {
	case "podman":
		driver := "cgroupfs"
		if c.systemd {
			driver = "systemd"
		}
		return append([]string{"podman", "--runtime", c.path, "--cgroup-manager", driver}, args...)
	case "docker":
		return append([]string{"docker"}, args...)
	}
	return append([]string{"ctr"}, args...)
}

// runArgs are the arguments of the client's run; flags are Docker's.
func (c *client) runArgs(mode string, flags []string, command []string) []string {
	c.Helper()
	args := []string{"run", mode}
	switch c.tool {
	case "docker":
		args = append(args, "--name", c.name, "--runtime", c.runtime, "--network", "none")
		return append(append(append(args, flags...), busybox), command...)
	case "podman":
		args = append(args, "--name", c.name, "--network", "none")
		return append(append(append(args, flags...), busybox), command...)
	}
	// ctr asks for CPU shares by itself, which runc refuses where there is no such controller.
	args = append(args, "--runc-binary", c.path, "--cpu-shares", "0")
	for i := 0; i < len(flags); i++ {
		name, value, has := strings.Cut(flags[i], "=")
		if !has && !slices.Contains([]string{"-i", "-t", "-it", "--read-only", "--init"}, name) {
			i++
			value = flags[i]
		}
		args = append(args, c.ctrFlag(name, value)...)
	}
	return append(append(args, busybox+":latest", c.name), command...)
}

// ctrFlag is ctr's word for one of Docker's flags.
func (c *client) ctrFlag(name, value string) []string {
	c.Helper()
	switch name {
	case "-i":
		return nil
	case "-t", "-it":
		return []string{"-t"}
	case "--read-only", "--hostname", "--device":
		return []string{name, value}[:1+min(1, len(value))]
	case "-u":
		return []string{"--user", value}
	case "-e":
		return []string{"--env", value}
	case "-w":
		return []string{"--cwd", value}
	case "--memory":
		return []string{"--memory-limit", strings.TrimSuffix(value, "m") + "000000"}
	case "--cap-add", "--cap-drop":
		return []string{name, "CAP_" + value}
	case "-v":
		src, dst, _ := strings.Cut(value, ":")
		dst, mode, _ := strings.Cut(dst, ":")
		if mode == "" {
			mode = "rw"
		}
		return []string{"--mount", "type=bind,src=" + src + ",dst=" + dst + ",options=rbind:" + mode}
	case "--security-opt":
		switch profile, isProfile := strings.CutPrefix(value, "seccomp="); {
		case value == "seccomp=unconfined", value == "no-new-privileges":
			return nil // as it is without
		case isProfile:
			return []string{"--seccomp", "--seccomp-profile", profile}
		}
	}
	c.Skipf("ctr has no %s", name)
	return nil
}

// once runs a container to its end.
func (c *client) once(flags []string, command ...string) result {
	c.Helper()
	return c.tell(c.runArgs("--rm", flags, command)...)
}

// says has a container print something.
func (c *client) says(want string, flags []string, script string) {
	c.Helper()
	if r := c.once(flags, "sh", "-c", script); r.code != 0 || strings.TrimSpace(r.stdout) != strings.TrimSpace(want) {
		c.Errorf("%v\n  want %q", r, want)
	}
}

// up starts a container in the background.
func (c *client) up(flags []string, command ...string) {
	c.Helper()
	c.good(c.runArgs("-d", flags, command)...)
}

// good is a command of the client's that must succeed.
func (c *client) good(args ...string) string {
	c.Helper()
	r := c.tell(args...)
	if r.code != 0 {
		c.Fatal(r)
	}
	return strings.TrimSpace(r.stdout)
}

// do is a verb on the row's container.
func (c *client) do(verb string, args ...string) {
	c.Helper()
	if c.tool != "ctr" {
		c.good(append(append([]string{verb}, args...), c.name)...)
		return
	}
	switch verb {
	case "unpause":
		verb = "resume"
	case "kill":
	case "pause":
	default:
		c.Skipf("ctr has no %s", verb)
	}
	c.good(append(append([]string{"tasks", verb}, args...), c.name)...)
}

// exec runs a command in the row's container.
func (c *client) exec(flags []string, command ...string) []string {
	if c.tool == "ctr" {
		id := fmt.Sprintf("exec%d", time.Now().UnixNano())
		return slices.Concat([]string{"tasks", "exec", "--exec-id", id}, slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == "-i" }), []string{c.name}, command)
	}
	return slices.Concat([]string{"exec"}, flags, []string{c.name}, command)
}

// is waits for the row's container to be in a state, and returns its pid.
func (c *client) is(state string) (pid int) {
	c.Helper()
	c.eventually("state of "+c.name, func() error {
		var got string
		if c.tool == "ctr" {
			for line := range strings.Lines(c.good("tasks", "ls")) {
				if f := strings.Fields(line); f[0] == c.name {
					_, _ = fmt.Sscan(f[1], &pid)
					got = strings.Replace(strings.ToLower(f[2]), "stopped", "exited", 1)
				}
			}
		} else {
			var list []struct {
				State struct {
					Status string
					Pid    int
				}
			}
			if err := json.Unmarshal([]byte(c.good("inspect", c.name)), &list); err != nil {
				return err
			}
			got, pid = list[0].State.Status, list[0].State.Pid
		}
		if got != state {
			return fmt.Errorf("is %q, want %q", got, state)
		}
		return nil
	})
	return pid
}

// gone makes sure that the client does not know the container any more.
func (c *client) gone() {
	c.Helper()
	if r := c.tell("inspect", c.name); r.code == 0 {
		c.Error(r)
	}
}

// exited waits for the container's end with an exit status.
func (c *client) exited(code int) {
	c.Helper()
	c.is("exited")
	if c.tool == "ctr" {
		return // ctr tells the status to who has waited
	}
	if got := c.good("inspect", "--format", "{{.State.ExitCode}}", c.name); got != fmt.Sprint(code) {
		c.Errorf("%s exited with %s, want %d", c.name, got, code)
	}
}

// tty begins a command of the client's in a terminal.
func (c *client) tty(args []string) *terminal {
	c.Helper()
	argv := c.command(args)
	return c.terminal(argv[0], argv[1:]...)
}

// controlled skips a row where there is no such controller.
func (c *client) controlled(controller string) {
	c.Helper()
	got, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		c.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(got)), controller) {
		c.Skipf("needs the %s controller of cgroup v2: a VM", controller)
	}
}

// stays is a program that ends at SIGTERM with 3.
var stays = []string{"sh", "-c", `trap "exit 3" TERM; echo up; echo err >&2; while :; do sleep 0.05; done`}

// clientRows is what clients do with a runtime.
var clientRows = []struct {
	name   string
	test   func(c *client)
	limits bool // needs controllers of cgroup v2
}{
	{"run", func(c *client) {
		r := c.once(nil, "sh", "-c", "echo out; echo err >&2; exit 7")
		if r.code != 7 || r.stdout != "out\n" || !strings.HasSuffix(r.stderr, "err\n") {
			c.Errorf("%v\n  want 7, out, err", r)
		}
	}, false},
	{"stdin", func(c *client) {
		c.only("podman", "docker") // ctr never tells of the end
		argv := c.command(c.runArgs("--rm", []string{"-i"}, []string{"cat"}))
		r := c.start(func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader("hello\n") }, argv[0], argv[1:]...).end()
		if r.code != 0 || r.stdout != "hello\n" {
			c.Errorf("%v\n  want hello", r)
		}
	}, false},
	{"command not found", func(c *client) {
		// The engines read the runtime's words.
		r := c.once(nil, "nope")
		if c.tool != "ctr" && r.code != 127 || r.code == 0 || !strings.Contains(r.stderr, "nope") {
			c.Errorf("%v\n  want 127", r)
		}
		if r := c.once(nil, "/etc"); c.tool != "ctr" && r.code != 126 || r.code == 0 {
			c.Errorf("%v\n  want 126", r)
		}
	}, false},
	{"terminal", func(c *client) {
		p := c.tty(c.runArgs("--rm", []string{"-it"}, []string{"sh"}))
		p.types("test -t 0 && test -t 1 && echo $(tty)-$((40+2))\n", "/dev/pts/0-42")
		c.eventually("size", func() error {
			seen := len(p.stdout.String())
			p.types("stty size; echo done-$((1+1))\n", "done-2")
			if got := p.stdout.String()[seen:]; !strings.Contains(got, "24 80") {
				return fmt.Errorf("terminal has %s", clip(got))
			}
			return nil
		})
		p.types("exit 5\n", "")
		if r := p.end(); r.code != 5 {
			c.Errorf("%v\n  want 5", r)
		}
	}, false},
	{"exec", func(c *client) {
		c.up(nil, stays...)
		c.is("running")
		if r := c.tell(c.exec(nil, "sh", "-c", "echo in $$; exit 6")...); r.code != 6 || !strings.HasPrefix(r.stdout, "in ") {
			c.Errorf("%v\n  want 6", r)
		}
		if r := c.tell(c.exec(nil, "nope")...); r.code == 0 || c.tool == "podman" && r.code != 127 {
			c.Errorf("%v\n  want 127", r) // Docker says 126, whatever the runtime
		}
		p := c.tty(c.exec([]string{"-i", "-t"}, "sh"))
		p.types("test -t 0 && echo tty-$((40+2))\n", "tty-42")
		p.types("exit 4\n", "")
		if r := p.end(); r.code != 4 {
			c.Errorf("%v\n  want 4", r)
		}
	}, false},
	{"exec with options", func(c *client) {
		c.only("podman", "docker")
		c.up([]string{"-e", "A=1"}, stays...)
		r := c.tell(c.exec([]string{"-u", "1000:1001", "-w", "/tmp", "-e", "B=2"}, "sh", "-c", "id -u; id -g; pwd; echo $A$B")...)
		if r.code != 0 || r.stdout != "1000\n1001\n/tmp\n12\n" {
			c.Error(r)
		}
		if r := c.tell(c.exec([]string{"--privileged"}, "grep", "CapEff", "/proc/self/status")...); r.code != 0 {
			c.Error(r)
		}
		if r := c.tell(c.exec([]string{"-d"}, "touch", "/tmp/detached")...); r.code != 0 {
			c.Error(r)
		}
		c.eventually("detached exec", func() error {
			if r := c.tell(c.exec(nil, "test", "-e", "/tmp/detached")...); r.code != 0 {
				return fmt.Errorf("%v", r)
			}
			return nil
		})
	}, false},
	{"stop", func(c *client) {
		c.only("podman", "docker")
		c.up(nil, stays...)
		c.is("running")
		c.eventually("trap", func() error {
			if out := c.tell("logs", c.name); !strings.Contains(out.stdout, "up") {
				return fmt.Errorf("%v", out)
			}
			return nil
		})
		c.do("stop")
		c.exited(3)
	}, false},
	{"kill", func(c *client) {
		c.up(nil, stays...)
		c.is("running")
		c.do("kill", "-s", "KILL")
		c.exited(137)
	}, false},
	{"pause", func(c *client) {
		c.up(nil, stays...)
		c.is("running")
		c.do("pause")
		c.is("paused")
		c.do("unpause")
		c.is("running")
		if r := c.tell(c.exec(nil, "true")...); r.code != 0 {
			c.Error(r)
		}
	}, false},
	{"stop while paused", func(c *client) {
		c.only("docker")
		c.up(nil, stays...)
		c.do("pause")
		c.is("paused")
		c.do("rm", "-f")
		c.gone()
	}, false},
	{"logs", func(c *client) {
		c.only("podman", "docker")
		c.up(nil, stays...)
		c.eventually("logs", func() error {
			if r := c.tell("logs", c.name); r.code != 0 || r.stdout != "up\n" || r.stderr != "err\n" {
				return fmt.Errorf("%v", r)
			}
			return nil
		})
	}, false},
	{"inspect", func(c *client) {
		c.up(nil, stays...)
		pid := c.is("running")
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || filepath.Base(exe) != "busybox" {
			c.Errorf("pid %d is %s: %v", pid, exe, err)
		}
	}, false},
	{"top", func(c *client) {
		c.only("podman", "docker")
		c.up(nil, "sh", "-c", "trap exit TERM; sleep 1000")
		c.is("running")
		if r := c.tell("top", c.name); r.code != 0 || !strings.Contains(r.stdout, "sleep 1000") {
			c.Error(r)
		}
	}, false},
	{"restart", func(c *client) {
		c.only("podman", "docker")
		c.up(nil, stays...)
		old := c.is("running")
		c.do("restart", "-t", "1")
		if pid := c.is("running"); pid == old {
			c.Errorf("pid %d before and after", pid)
		}
	}, false},
	{"restart by policy", func(c *client) {
		c.only("podman", "docker")
		dir := c.TempDir()
		c.up([]string{"--restart", "on-failure:2", "-v", dir + ":/data"}, "sh", "-c", "echo x >> /data/runs; exit 1")
		c.eventually("three runs", func() error {
			if runs, _ := os.ReadFile(dir + "/runs"); string(runs) != "x\nx\nx\n" {
				return fmt.Errorf("runs: %q", runs)
			}
			return nil
		})
	}, false},
	{"rm", func(c *client) {
		c.only("podman", "docker")
		c.up(nil, stays...)
		c.do("rm", "-f")
		c.gone()
	}, false},
	{"health", func(c *client) {
		c.only("podman", "docker")
		c.up([]string{"--health-cmd", "test -e /proc/1", "--health-interval", "1s"}, stays...)
		if c.tool == "podman" {
			c.do("healthcheck", "run")
		}
		c.eventually("health", func() error {
			if got := c.good("inspect", "--format", "{{.State.Health.Status}}", c.name); got != "healthy" {
				return fmt.Errorf("is %s", got)
			}
			return nil
		})
	}, false},
	{"memory", func(c *client) {
		c.controlled("memory")
		c.says("67108864", []string{"--memory", "64m"}, "cat /sys/fs/cgroup/memory.max")
	}, true},
	{"pids limit", func(c *client) {
		c.controlled("pids")
		c.says("57", []string{"--pids-limit", "57"}, "cat /sys/fs/cgroup/pids.max")
	}, true},
	{"cpus", func(c *client) {
		c.controlled("cpu")
		c.says("50000 100000", []string{"--cpus", "0.5"}, "cat /sys/fs/cgroup/cpu.max")
	}, true},
	{"update", func(c *client) {
		c.controlled("memory")
		c.only("podman", "docker")
		c.up([]string{"--memory", "64m"}, stays...)
		c.do("update", "--memory", "128m")
		if r := c.tell(c.exec(nil, "cat", "/sys/fs/cgroup/memory.max")...); r.stdout != "134217728\n" {
			c.Error(r)
		}
	}, true},
	{"read-only", func(c *client) {
		c.says("refused", []string{"--read-only"}, "touch /x 2>/dev/null || echo refused")
	}, false},
	{"device", func(c *client) {
		c.says("1:3", []string{"--device", "/dev/null"}, "stat -c %t:%T /dev/null")
		c.only("podman", "docker")
		c.says("1:5 ok", []string{"--device", "/dev/zero:/dev/other:r"}, "echo $(stat -c %t:%T /dev/other) $(head -c1 /dev/other >/dev/null && echo ok)")
	}, false},
	{"seccomp", func(c *client) {
		c.says("Seccomp:\t0", []string{"--security-opt", "seccomp=unconfined"}, "grep Seccomp: /proc/self/status")
		profile := write(c.TB, filepath.Join(c.TempDir(), "profile"), `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}`)
		c.says("Seccomp:\t2\nmkdir: can't create directory '/tmp/x': Operation not supported", []string{"--security-opt", "seccomp=" + profile},
			"grep Seccomp: /proc/self/status; mkdir /tmp/x 2>&1 || true")
	}, false},
	{"seccomp by default", func(c *client) {
		c.only("podman", "docker")
		c.says("Seccomp:\t2", nil, "grep Seccomp: /proc/self/status")
	}, false},
	{"no new privileges", func(c *client) {
		c.says("NoNewPrivs:\t1", []string{"--security-opt", "no-new-privileges"}, "grep NoNewPrivs /proc/self/status")
	}, false},
	{"capabilities", func(c *client) {
		c.only("podman", "docker")
		c.says("CapEff:\t0000000000000001", []string{"--cap-drop", "ALL", "--cap-add", "CHOWN"}, "grep CapEff /proc/self/status")
	}, false},
	{"privileged", func(c *client) {
		c.only("podman", "docker")
		c.says("ok", []string{"--privileged"}, "mkdir /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m && echo ok")
	}, false},
	{"user", func(c *client) {
		c.says("1000\n1001", []string{"-u", "1000:1001"}, "id -u; id -g")
	}, false},
	{"environment", func(c *client) {
		c.says("b\n/tmp\nhome", []string{"-e", "A=b", "-w", "/tmp", "--hostname", "home"}, "echo $A; pwd; hostname")
	}, false},
	{"volume", func(c *client) {
		dir := c.TempDir()
		c.says("", []string{"-v", dir + ":/data"}, "echo x > /data/file")
		if b, err := os.ReadFile(dir + "/file"); string(b) != "x\n" {
			c.Errorf("%q %v", b, err)
		}
		c.says("x\nrefused", []string{"-v", dir + ":/data:ro"}, "cat /data/file; touch /data/new 2>/dev/null || echo refused")
	}, false},
	{"tmpfs", func(c *client) {
		c.only("podman", "docker")
		c.says("700\n1", []string{"--tmpfs", "/scratch:size=64k,mode=700"}, "stat -c %a /scratch; grep -c ' /scratch tmpfs .*size=64k' /proc/mounts")
	}, false},
	{"shm size", func(c *client) {
		c.only("podman", "docker")
		c.says("1", []string{"--shm-size", "128k"}, "grep -c ' /dev/shm tmpfs .*size=128k' /proc/mounts")
	}, false},
	{"ulimit", func(c *client) {
		c.only("podman", "docker")
		c.says("77\n88", []string{"--ulimit", "nofile=77:88"}, "ulimit -n; ulimit -Hn")
	}, false},
	{"sysctl", func(c *client) {
		c.only("podman", "docker")
		c.says("1", []string{"--sysctl", "net.ipv4.ip_forward=1"}, "cat /proc/sys/net/ipv4/ip_forward")
	}, false},
	{"oom score", func(c *client) {
		c.only("podman", "docker")
		c.says("321", []string{"--oom-score-adj", "321"}, "cat /proc/self/oom_score_adj")
	}, false},
	{"init", func(c *client) {
		c.only("podman", "docker")
		flags := []string{"--init"}
		if c.tool == "podman" {
			flags = append(flags, "--init-path", "/usr/bin/tini-static")
			if _, err := os.Stat(flags[2]); err != nil {
				flags[2] = "/usr/bin/tini"
			}
		}
		if r := c.once(flags, "sh", "-c", "echo $$"); r.code == 0 && r.stdout != "1\n" {
			return
		} else if r.code != 127 || c.runtime == "berth" {
			c.Errorf("%v\n  want another pid than 1", r)
		}
	}, false},
	{"host's namespaces", func(c *client) {
		c.only("podman", "docker")
		own, err := os.Readlink("/proc/self/ns/ipc")
		if err != nil {
			c.Fatal(err)
		}
		c.says(own, []string{"--pid", "host", "--ipc", "host", "--uts", "host"}, "readlink /proc/self/ns/ipc")
	}, false},
	{"another's namespaces", func(c *client) {
		c.only("podman", "docker")
		c.up(nil, stays...)
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.is("running")))
		if err != nil {
			c.Fatal(err)
		}
		args := c.runArgs("--rm", []string{"--pid", "container:" + c.name}, []string{"sh", "-c", "readlink /proc/self/ns/net; ps | grep -c 'trap exi[t]'; ps | grep -c 'sleep'"})
		args[slices.Index(args, "--name")+1] = c.name + "-other"
		args[slices.Index(args, "--network")+1] = "container:" + c.name
		if r := c.tell(args...); r.code != 0 || !strings.HasPrefix(r.stdout, ns) {
			c.Errorf("%v\n  want %s", r, ns)
		}
	}, false},
	{"user namespace", func(c *client) {
		script := `echo $(cat /proc/self/uid_map); id -u; touch /tmp/x && stat -c %u /tmp/x`
		switch c.tool {
		case "podman":
			c.says("0 100000 65536\n0\n0", []string{"--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"}, script)
		case "ctr":
			c.Skip("ctr forgets --runc-binary beside --uidmap")
		default:
			c.Skip("Docker has it for all containers: TestDockerUserNamespace")
		}
	}, false},
	{"user namespace by itself", func(c *client) {
		c.only("podman")
		r := c.once([]string{"--userns", "auto:size=1024"}, "cat", "/proc/self/uid_map")
		if f := strings.Fields(r.stdout); r.code != 0 || len(f) != 3 || f[0] != "0" || f[1] == "0" || f[2] != "1024" {
			c.Error(r)
		}
	}, false},
}

// with runs the rows with each runtime that there is beside ours: reference is the one that the client is delivered with.
func with(t *testing.T, tool, reference string, systemd bool, prepare func(c *client)) {
	l := Product(t)
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s, which is not installed in this lane", tool)
	}
	for _, name := range []string{"berth", reference} {
		path, ok := ociRuntimes(l)[name]
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if name == "berth" && systemd {
				if out, err := exec.Command(path, "--systemd-cgroup", "list").CombinedOutput(); err != nil {
					t.Skipf("%s", out)
				}
			}
			passed := 0
			whole := &client{host: &host{TB: t, Env: l}, tool: tool, runtime: name, path: path, systemd: systemd}
			prepare(whole)
			for i, row := range clientRows {
				// An emulated machine takes a hundred times as long: what needs controllers is enough there.
				if l.VM && !row.limits && row.name != "run" {
					continue
				}
				t.Run(row.name, func(t *testing.T) {
					c := *whole
					c.host = &host{TB: t, Env: l}
					c.name, c.before = fmt.Sprintf("row%d", i), len(c.leavings())
					t.Cleanup(func() { passed += c.end() })
					row.test(&c)
				})
			}
			t.Logf("count: %s with %s: %d of %d rows passed", tool, name, passed, len(clientRows))
		})
	}
}

// end removes the row's container, and looks for what its runtime has left.
func (c *client) end() (passed int) {
	c.Helper()
	switch c.tool {
	case "ctr":
		_ = c.tell("tasks", "rm", "-f", c.name)
		_ = c.tell("containers", "rm", c.name)
	case "podman":
		_ = c.tell("rm", "-f", "-t", "0", c.name)
	default:
		_ = c.tell("rm", "-f", c.name)
	}
	if left := c.leavings(); len(left) > c.before {
		c.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	if c.Failed() || c.Skipped() {
		return 0
	}
	return 1
}

// leavings are states and cgroups of containers.
func (c *client) leavings() []string {
	states := slices.Concat(glob("/run/berth-runtime/*"), glob("/run/docker/runtime-runc/moby/*"), glob("/run/containerd/runc/default/*"), glob("/run/crun/*"))
	states = slices.DeleteFunc(states, func(p string) bool { return filepath.Base(p) == ".cache" }) // crun's, of seccomp profiles
	groups := slices.Concat(glob("/sys/fs/cgroup/docker/*/"), glob("/sys/fs/cgroup/libpod_parent/libpod-*/"), glob("/sys/fs/cgroup/default/*/"),
		glob("/sys/fs/cgroup/machine.slice/libpod-*/"), glob("/sys/fs/cgroup/system.slice/docker-*/"))
	return append(states, groups...)
}

func TestPodman(t *testing.T) {
	with(t, "podman", "crun", false, preparePodman)
}

func TestPodmanWithSystemd(t *testing.T) {
	with(t, "podman", "crun", true, preparePodman)
}

func preparePodman(c *client) {
	for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
		write(c.TB, f, "containers:100000:1000000\n")
	}
	c.good("pull", "-q", busybox)
}

func TestDocker(t *testing.T) {
	with(t, "docker", "runc", false, func(c *client) { c.dockerd(`"exec-opts": ["native.cgroupdriver=cgroupfs"]`) })
}

func TestDockerWithSystemd(t *testing.T) {
	with(t, "docker", "runc", true, func(c *client) { c.dockerd(`"exec-opts": ["native.cgroupdriver=systemd"]`) })
}

// dockerd starts Docker Engine, which knows our runtime as berth, with something else in its configuration.
func (c *client) dockerd(config string) {
	c.Helper()
	if err := os.MkdirAll("/etc/docker", 0o755); err != nil {
		c.Fatal(err)
	}
	write(c.TB, "/etc/docker/daemon.json", fmt.Sprintf(`{%s, "runtimes": {"berth": {"path": %q}}}`, config, ociRuntimes(c.Env)["berth"]))
	if r := c.systemctl("restart", "docker"); r.code != 0 {
		c.Fatalf("%v\n%s", r, c.sh("journalctl -u docker -n 20 --no-pager").stdout)
	}
	c.Cleanup(func() { c.systemctl("stop", "docker.socket", "docker", "containerd") })
	c.good("pull", "-q", busybox)
}

// TestDockerUserNamespace has all of Docker's containers in a user namespace.
func TestDockerUserNamespace(t *testing.T) {
	l := Product(t)
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("needs docker, which is not installed in this lane")
	}
	for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
		write(t, f, "remapped:200000:65536\n")
	}
	if out, err := exec.Command("useradd", "-r", "-U", "remapped").CombinedOutput(); err != nil && !strings.Contains(string(out), "exists") {
		t.Fatalf("%v: %s", err, out)
	}
	c := &client{host: &host{TB: t, Env: l}, tool: "docker", runtime: "berth", name: "remapped"}
	c.dockerd(`"userns-remap": "remapped:remapped", "exec-opts": ["native.cgroupdriver=cgroupfs"]`)
	for _, runtime := range []string{"runc", "berth"} {
		c.runtime, c.before = runtime, len(c.leavings())
		c.says("0 200000 65536\n0\n0\ntty 5", nil, `echo $(cat /proc/self/uid_map); id -u; touch /tmp/x && stat -c %u /tmp/x; echo tty $(stat -c %t /dev/tty)`)
		c.up(nil, stays...)
		if r := c.tell(c.exec(nil, "cat", "/proc/self/uid_map")...); strings.Join(strings.Fields(r.stdout), " ") != "0 200000 65536" {
			c.Error(r)
		}
		c.end()
	}
}

func TestContainerd(t *testing.T) {
	with(t, "ctr", "runc", false, func(c *client) {
		if r := c.systemctl("start", "containerd"); r.code != 0 {
			c.Fatal(r)
		}
		c.Cleanup(func() { c.systemctl("stop", "containerd") })
		c.good("images", "pull", "--plain-http", busybox+":latest")
	})
}

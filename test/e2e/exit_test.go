package e2e

import (
	"strconv"
	"testing"
)

func TestExitCodes(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		for _, test := range []struct {
			name string
			code int
			args []string
		}{
			{"0", 0, []string{"true"}},
			{"42", 42, []string{"sh", "-c", "exit 42"}},
			{"255", 255, []string{"sh", "-c", "exit 255"}},
			{"killed by itself", 128 + 9, []string{"sh", "-c", "sh -c 'kill -9 $PPID'; sleep 60"}},
			{"abort", 128 + 6, []string{"sh", "-c", "trap - ABRT; exec sh -c 'kill -ABRT $$'; sleep 60"}},
		} {
			t.Run(test.name, func(t *testing.T) {
				h := product(t)
				args := append([]string{"run", "--rm", "--init", "--runtime", runtime, busybox}, test.args...)
				h.want(test.code, "", args...)
				h.nothingLeft()
			})
		}
		for _, test := range []struct {
			name string
			code int
			args []string
		}{
			{"missing command", 127, []string{"nowhere-to-be-found"}},
			{"missing path", 127, []string{"/no/such/command"}},
			{"not executable", 126, []string{"/etc/passwd"}},
			{"directory", 126, []string{"/etc"}},
		} {
			t.Run(test.name, func(t *testing.T) {
				for _, how := range [][]string{{"--rm"}, {"--rm", "-d"}, {"--rm", "-i"}, {"--rm", "-t"}} {
					h := product(t)
					args := append(append([]string{"run", "--runtime", runtime}, how...), busybox)
					h.refuse(test.code, []string{test.args[0]}, append(args, test.args...)...)
					h.nothingLeft()
				}
			})
		}
	})
}

// What could not be started stays, says why, and can be removed.
func TestFailedStartIsKept(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.refuse(127, []string{"nowhere-to-be-found"}, "run", "--name", "broken", busybox, "nowhere-to-be-found")
	if got := h.ok("inspect", "--format", "{{.State.ExitCode}}", "broken"); got != "127" {
		h.Errorf("inspect gives exit code %s, want 127", got)
	}
	if got := h.ok("inspect", "--format", "{{.State.Error}}", "broken"); got == "" {
		h.Error("inspect does not say why")
	}
	h.refuse(127, []string{"nowhere-to-be-found"}, "start", "broken")
	h.want(0, "broken\n", "rm", "broken")
	h.nothingLeft()
}

func TestKillGivesStatus137(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		fg := h.start(nil, "berth", "run", "--name", "victim", "--runtime", runtime, busybox, "sh", "-c", "echo up; sleep 1000")
		fg.has("up\n")
		h.want(0, "victim\n", "kill", "victim")
		if r := fg.end(); r.code != 137 {
			h.Errorf("%v\nwant 137", r)
		}
		h.want(0, "137\n", "wait", "victim")
		if got := h.ok("ps", "-a", "--format", "{{.Names}} {{.Status}}"); got[:len("victim Exited (137)")] != "victim Exited (137)" {
			h.Errorf("ps says %q", got)
		}
		h.want(0, "victim\n", "rm", "victim")
		h.nothingLeft()
	})
}

func TestExecExitCodes(t *testing.T) {
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		h.ok("run", "-d", "--name", "box", "--runtime", runtime, busybox, "sleep", "1000")
		for _, code := range []int{0, 1, 42, 255} {
			h.want(code, "", "exec", "box", "sh", "-c", "exit "+strconv.Itoa(code))
		}
		h.want(137, "", "exec", "box", "sh", "-c", "kill -9 $$")
		h.refuse(127, []string{"nowhere-to-be-found"}, "exec", "box", "nowhere-to-be-found")
		h.refuse(126, nil, "exec", "box", "/etc/passwd") // crun 1.8 does not say what it could not run
		h.refuse(125, []string{"nobody-here"}, "exec", "nobody-here", "true")
		h.want(0, "out\n", "exec", "box", "sh", "-c", "echo out; echo err >&2")
		if r := h.berth("exec", "box", "sh", "-c", "echo out; echo err >&2"); r.stderr != "err\n" {
			h.Errorf("%v\nwant stderr err", r)
		}
		h.want(0, "1000\n", "exec", "-u", "1000", "box", "id", "-u")
		h.want(0, "/tmp v\n", "exec", "-w", "/tmp", "-e", "V=v", "box", "sh", "-c", `echo $PWD $V`)
		if h.stateOf("box") != "running" {
			h.Error("exec has ended the container")
		}
	})
}

func TestBadCommandLines(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"no such verb", []string{"rum"}, "rum"},
		{"no such flag", []string{"run", "--no-such-flag", busybox}, "no-such-flag"},
		{"no image", []string{"run"}, "IMAGE"},
		{"bad reference", []string{"run", "UPPER/Case"}, "UPPER/Case"},
		{"bad digest", []string{"run", "busybox@sha256:abc"}, "busybox@sha256:abc"},
		{"unknown image", []string{"run", "--rm", registry + "nobody"}, "nobody"},
		{"unknown tag", []string{"run", "--rm", busybox + ":nothing"}, "nothing"},
		{"never pull", []string{"run", "--pull", "never", busybox + ":docker"}, "busybox:docker"},
		{"bad pull policy", []string{"run", "--pull", "sometimes", busybox}, "sometimes"},
		{"memory", []string{"run", "-m", "lots", busybox}, "lots"},
		{"cpus", []string{"run", "--cpus", "-1", busybox}, "-1"},
		{"pids limit", []string{"run", "--pids-limit", "many", busybox}, "many"},
		{"name", []string{"run", "--name", "no/slash", busybox}, "no/slash"},
		{"restart policy", []string{"run", "--restart", "sometimes", busybox}, "sometimes"},
		{"restart and rm", []string{"run", "--rm", "--restart", "always", busybox}, "--rm"},
		{"log driver", []string{"run", "--log-driver", "papyrus", busybox}, "papyrus"},
		{"network", []string{"run", "--network", "token:ring", busybox}, "token:ring"},
		{"ulimit", []string{"run", "--ulimit", "nofile=2:1", busybox}, "nofile"},
		{"sysctl", []string{"run", "--rm", "--sysctl", "kernel.panic=1", busybox}, "kernel.panic"},
		{"capability", []string{"run", "--cap-add", "FLY", busybox}, "FLY"},
		{"runtime", []string{"run", "--runtime", "no-such-runtime", busybox}, "no-such-runtime"},
		{"runtime's path", []string{"run", "--runtime", "/no/such/runtime", busybox}, "/no/such/runtime"},
		{"stop signal", []string{"run", "--stop-signal", "SIGFLY", busybox}, "SIGFLY"},
		{"umask", []string{"run", "--umask", "99", busybox}, "99"},
		{"time zone", []string{"run", "--tz", "Moon/Tranquility", busybox}, "Moon/Tranquility"},
		{"user", []string{"run", "--rm", "-u", "nobody-here", busybox}, "nobody-here"},
		{"group", []string{"run", "--rm", "--group-add", "no-such-group", busybox}, "no-such-group"},
		{"device", []string{"run", "--rm", "--device", "/dev/no-such-device", busybox}, "/dev/no-such-device"},
		{"missing env file", []string{"run", "--env-file", "/no/such/file", busybox}, "/no/such/file"},
		{"bad variable", []string{"run", "-e", "=x", busybox}, "=x"},
		{"missing label file", []string{"run", "--label-file", "/no/such/file", busybox}, "/no/such/file"},
		{"volume's source missing", []string{"run", "--rm", "-v", "/no/such/dir:/data", busybox}, "/no/such/dir"},
		{"mount's source missing", []string{"run", "--rm", "--mount", "type=bind,src=/no/such/dir,dst=/data", busybox}, "/no/such/dir"},
		{"mount's type", []string{"run", "--mount", "type=papyrus,dst=/data", busybox}, "papyrus"},
		{"mount's option", []string{"run", "--mount", "type=tmpfs,dst=/data,color=blue", busybox}, "color"},
		{"volume's target", []string{"run", "-v", "/tmp:data", busybox}, "data"},
		{"tmpfs's target", []string{"run", "--tmpfs", "data", busybox}, "data"},
		{"seccomp profile missing", []string{"run", "--security-opt", "seccomp=/no/such/file", busybox}, "/no/such/file"},
		{"rootfs missing", []string{"run", "--rm", "--rootfs", "/no/such/dir", "true"}, "/no/such/dir"},
		{"slice", []string{"run", "--rm", "--slice", "nonsense", busybox}, "nonsense"},
		{"start nobody", []string{"start", "nobody-here"}, "nobody-here"},
		{"stop nobody", []string{"stop", "nobody-here"}, "nobody-here"},
		{"logs of nobody", []string{"logs", "nobody-here"}, "nobody-here"},
		{"inspect nobody", []string{"inspect", "nobody-here"}, "nobody-here"},
		{"bad template", []string{"ps", "--format", "{{.Nonsense"}, "--format"},
		{"bad filter", []string{"ps", "--filter", "color=blue"}, "color"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := product(t)
			h.pull(busybox)
			h.refuse(125, []string{test.says}, test.args...)
			h.nothingLeft()
		})
	}
}

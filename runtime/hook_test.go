package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// hookScript is a hook that runs a script with everything on PATH.
func hookScript(script string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}
}

// A hook of any point that fails ends the container, and poststop hooks are run.
func TestHookFailsEverywhere(t *testing.T) {
	one := 1
	for _, point := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart"} {
		for name, h := range map[string]specs.Hook{
			"fails": hookScript("exit 3"),
			"hangs": {Path: "/bin/sh", Args: []string{"sh", "-c", "exec sleep 20"}, Env: []string{"PATH=/bin"}, Timeout: &one},
		} {
			if name == "hangs" && !strings.Contains(point, "start") {
				continue // TestHookFails has it
			}
			t.Run(point+"_"+name, func(t *testing.T) {
				s := ours(t)
				id := s.id(t)
				log := filepath.Join(t.TempDir(), "log")
				b := bundle(t, func(c *specs.Spec) {
					list := []specs.Hook{h, hookScript("echo second >> " + log)}
					c.Hooks = &specs.Hooks{Poststop: []specs.Hook{hookScript("cat >> " + log + "; echo >> " + log)}}
					switch point {
					case "prestart":
						//lint:ignore SA1019 engines still use prestart
						c.Hooks.Prestart = list
					case "createRuntime":
						c.Hooks.CreateRuntime = list
					case "createContainer":
						c.Hooks.CreateContainer = list
					case "startContainer":
						c.Hooks.StartContainer = list
					case "poststart":
						c.Hooks.Poststart = list
					}
				}, "sleep", "60")
				r := s.run(t, "create", "--bundle", b, id)
				if strings.HasPrefix(point, "start") || strings.HasPrefix(point, "post") {
					if r.status != 0 {
						t.Fatal(r)
					}
					pid := s.state(t, id).Pid
					r = s.run(t, "start", id)
					if st := s.state(t, id); st.Status != specs.StateStopped {
						t.Errorf("state is %s", st.Status)
					}
					if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) == "sleep\n" {
						status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
						if !strings.Contains(string(status), "State:\tZ") {
							t.Error("the init lives")
						}
					}
					s.must(t, "delete", id)
				} else if r := s.run(t, "state", id); r.status == 0 {
					t.Error("something is left")
				}
				if r.status == 0 || !strings.Contains(r.err, "run "+point+" hook #0 /bin/sh") {
					t.Errorf("%s", r)
				}
				got, _ := os.ReadFile(log)
				if n := strings.Count(string(got), "\n"); n != 1 || !strings.Contains(string(got), `"status":"stopped"`) {
					t.Errorf("after a failed %s hook: %q", point, got)
				}
				if name == "hangs" {
					return
				}
				// And in one go.
				os.Remove(log)
				if r := s.run(t, "run", "--bundle", b, id); r.status == 0 {
					t.Error(r)
				}
				if got, _ := os.ReadFile(log); strings.Count(string(got), "\n") != 1 {
					t.Errorf("after a failed %s hook of run: %q", point, got)
				}
			})
		}
	}
}

// Poststop hooks come after everything is gone, all of them, and their failure
// is a warning.
func TestPoststopWarns(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "dies of SIGPIPE when a hook does not read its state", "crun")
		id := s.id(t)
		dir := t.TempDir()
		log, out := filepath.Join(dir, "log"), filepath.Join(dir, "out")
		b := bundle(t, func(c *specs.Spec) {
			c.Hooks = &specs.Hooks{Poststop: []specs.Hook{hookScript("exit 3"), {Path: "/nope"},
				hookScript("ls -d " + s.root + "/" + id + " /sys/fs/cgroup" + c.Linux.CgroupsPath + "; echo third > " + out)}}
		}, "sleep", "60")
		s.must(t, "run", "-d", "--bundle", b, id)
		s.must(t, "--log", log, "delete", "-f", id)
		if got, _ := os.ReadFile(out); string(got) != "third\n" {
			s.differs(t, "stops at the first poststop hook that fails", "runc", "crun")
			t.Errorf("third hook: %q", got)
		}
		if s.name == "berth" {
			got, _ := os.ReadFile(log)
			for _, want := range []string{"level=warning", "poststop hook", "exit status 3", "/nope"} {
				if !strings.Contains(string(got), want) {
					t.Errorf("no %q in %s", want, got)
				}
			}
		}
	})
}

// Where each hook's path is looked up and where it runs.
func TestHookNamespaces(t *testing.T) {
	each(t, func(t *testing.T, s *subject) {
		if s.name == "crun" && !older(s.version(t), "1.21") {
			s.differs(t, "start dies by a signal where a startContainer hook cannot be found", "crun")
		}
		id := s.id(t)
		host := t.TempDir()
		os.Chmod(filepath.Dir(host), 0o777)
		os.Chmod(host, 0o777)
		hook := func(name string) []specs.Hook {
			return []specs.Hook{hookScript(`for n in mnt net uts ipc pid; do readlink /proc/self/ns/$n; done > ` + host + "/" + name)}
		}
		b := bundle(t, func(c *specs.Spec) {
			c.Root.Readonly = false
			c.Mounts = append(c.Mounts, specs.Mount{Destination: host, Source: host, Type: "bind", Options: []string{"bind"}})
			c.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"), Poststart: hook("poststart"), Poststop: hook("poststop"),
				StartContainer: []specs.Hook{{Path: "/only-inside", Args: []string{"x"}, Env: []string{"PATH=/bin"}}}}
		}, "sleep", "60")
		os.WriteFile(b+"/rootfs/only-inside", []byte("#!/bin/sh\n"+hook("startContainer")[0].Args[2]), 0o755)
		s.must(t, "create", "--bundle", b, id)
		pid := s.state(t, id).Pid
		read := func(pid string) (list []string) {
			for _, n := range []string{"mnt", "net", "uts", "ipc", "pid"} {
				l, err := os.Readlink("/proc/" + pid + "/ns/" + n)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, l)
			}
			return list
		}
		outside, inside := read("self"), read(fmt.Sprint(pid))
		s.must(t, "start", id)
		eventually(t, "the program runs", func() bool { // crun does not wait for it
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			return string(comm) == "sleep\n"
		})
		s.must(t, "delete", "-f", id)
		for name, want := range map[string][]string{"createRuntime": outside, "createContainer": inside, "startContainer": inside, "poststart": outside, "poststop": outside} {
			b, _ := os.ReadFile(filepath.Join(host, name))
			got := strings.Fields(string(b))
			if name == "createContainer" && len(got) == 5 {
				got, want = got[:4], want[:4] // there is no other process in the pid namespace yet
			}
			if name == "startContainer" && s.name == "crun" && len(got) == 5 {
				got, want = got[:4], want[:4] // its /proc has no pid there
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
	})
}

func TestHooksRefused(t *testing.T) {
	for _, h := range []string{`{"path":"sh"}`, `{"path":""}`, `{"path":"/bin/sh","timeout":0}`, `{"path":"/bin/sh","timeout":-1}`} {
		for _, point := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
			config := `{"root":{"path":"x"},"process":{"args":["x"],"cwd":"/"},"hooks":{"` + point + `":[` + h + `]}}`
			if _, err := LoadSpec([]byte(config)); err == nil {
				t.Errorf("%s %s: accepted", point, h)
			}
		}
	}
}

// Hooks of create come when all is mounted and nothing is read-only or masked
// yet: what they put into the root stays in sight.
func TestHooksFindTheRoot(t *testing.T) {
	const state = `state=$(cat); field() { echo "$state" | sed "s/.*\"$1\": *\"*\([^,\"}]*\).*/\1/"; }; root=$(field bundle)/rootfs; `
	each(t, func(t *testing.T, s *subject) {
		s.differs(t, "prestart hooks come before the mounts", "crun")
		b := bundle(t, func(c *specs.Spec) {
			c.Root.Readonly = true
			c.Hooks = &specs.Hooks{
				//lint:ignore SA1019 engines still use prestart
				Prestart:        []specs.Hook{hookScript(state + "nsenter -t $(field pid) -m touch $root/dev/hooked")},
				CreateContainer: []specs.Hook{hookScript(state + "touch $root/made")},
			}
		}, "ls", "/dev/hooked", "/made")
		s.run(t, "run", "--bundle", b, s.id(t)).want(t, "/dev/hooked\n/made")
	})
}

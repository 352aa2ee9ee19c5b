package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
)

// ociRuntime runs the OCI runtime of a container. Any runtime that keeps to
// the command line of runc does.
type ociRuntime struct {
	r     container.Runtime
	state string // --root
	env   []string
	start func(argv []string, attr *syscall.ProcAttr) (<-chan unix.WaitStatus, error)
}

// own says whether it is berth-runtime, which can do with one process for what
// takes others three: create --start-fd, and nothing but its directory left.
func (o *ociRuntime) own() bool { return filepath.Base(o.r.Path) == "berth-runtime" }

// stdio are the descriptors 0, 1 and 2 of a program.
type stdio [3]uintptr

// run starts the runtime with a verb; its status comes on the channel.
func (o *ociRuntime) run(dir, logFile string, io stdio, verb ...string) (<-chan unix.WaitStatus, error) {
	return o.runWith(dir, logFile, io[:], verb...)
}

// runWith is run for a program that gets more descriptors than three.
func (o *ociRuntime) runWith(dir, logFile string, files []uintptr, verb ...string) (<-chan unix.WaitStatus, error) {
	argv := append([]string{o.r.Path}, o.r.Args...)
	argv = append(argv, "--root", o.state, "--log", logFile, "--log-format", "json")
	argv = append(argv, verb...)
	env := o.env
	if o.own() {
		env = append(env[:len(env):len(env)], "GOGC=off")
	}
	return o.start(argv, &syscall.ProcAttr{Dir: dir, Env: env, Files: files})
}

// runtimeError is what a runtime said when it did not do what it was asked to.
type runtimeError struct {
	verb, text string
}

func (e *runtimeError) Error() string {
	if e.text == "" {
		return "runtime " + e.verb + ": it ended without a word"
	}
	return e.text
}

// failure makes an error of a runtime's log and of what it wrote to stderr.
func failure(verb, logFile string, stderr []byte) error {
	data, _ := os.ReadFile(logFile)
	text := lastError(data)
	if text == "" {
		text = lastLine(stderr)
	}
	return &runtimeError{verb, text}
}

// lastError returns the last message of a runtime's JSON log that is an error,
// else the last one.
func lastError(log []byte) string {
	var last string
	worst := false
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, Level string }
		if json.Unmarshal(line, &entry) != nil || entry.Msg == "" {
			continue
		}
		bad := entry.Level == "error" || entry.Level == "fatal"
		if bad || !worst {
			last, worst = entry.Msg, bad
		}
	}
	return strings.TrimSpace(last)
}

func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// startCode is the exit code of a container whose start failed with err, as
// Docker and Podman have it: 127 no such command, 126 it cannot be executed,
// 125 anything else. Runtimes tell in words only.
func startCode(err error) int {
	var re *runtimeError
	if !errors.As(err, &re) {
		return container.ExitBerth
	}
	text := strings.ToLower(re.text)
	// What went wrong before the command was looked for is none of its
	// errors, although "no such file" may be among the words.
	for _, w := range []string{"mount", "cgroup", "rootfs", "chdir", "working directory", "namespace", "device"} {
		if strings.Contains(text, w) && !strings.Contains(text, "exec") {
			return container.ExitBerth
		}
	}
	// execute, executable, execve; crun says what a path is not
	about := strings.Contains(text, "exec") || strings.Contains(text, "not a regular file")
	switch {
	case !about:
		return container.ExitBerth
	case strings.Contains(text, "not found"), strings.Contains(text, "no such file"):
		return container.ExitNotFound
	case strings.Contains(text, "permission denied"), strings.Contains(text, "not permitted"), strings.Contains(text, "exec format error"),
		strings.Contains(text, "is a directory"), strings.Contains(text, "not a directory"), strings.Contains(text, "not a regular file"):
		return container.ExitCannotRun
	}
	return container.ExitBerth
}

// childEnv is the environment of programs started here: what is meant for this
// process's own runtime is left out. notify.Inherit took away systemd's.
func childEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		switch key, _, _ := strings.Cut(kv, "="); key {
		case "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GOTRACEBACK", "GODEBUG":
		default:
			out = append(out, kv)
		}
	}
	return out
}

// removeLeftovers clears away a run that was killed before its start.
func (o *ociRuntime) removeLeftovers(id string) {
	if _, err := os.Lstat(filepath.Join(o.state, id)); err == nil {
		o.startRemove(id)()
	}
}

// forget removes what the runtime left of a container whose processes are gone.
// The function it returns waits for the end of that.
func (o *ociRuntime) forget(id string) (wait func()) {
	if !o.own() {
		return o.startRemove(id)
	}
	// No process for two files. There is no poststop hook to run: bundles of
	// ours have none.
	_ = os.RemoveAll(filepath.Join(o.state, id))
	return func() {}
}

// startRemove runs "delete --force". The function it returns waits for the end
// of that. A runtime that does not know the container has nothing to remove.
func (o *ociRuntime) startRemove(id string) (wait func()) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return func() {}
	}
	defer null.Close()
	fd := rawFD(null)
	done, err := o.run("/", os.DevNull, stdio{fd, fd, fd}, "delete", "--force", id)
	if err != nil {
		return func() {}
	}
	return func() { <-done }
}

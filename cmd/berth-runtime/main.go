//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command berth-runtime is an OCI runtime with runc's command line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// version is set when a release is built.
var version = "0.1.0-dev"

// global are the flags before the verb.
type global struct {
	root      string
	log       string
	logFormat string
	debug     bool
	systemd   bool
	rootless  string
}

// exitStatus is the end of a container, or of a verb that has said everything.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

func main() {
	// A process of a few milliseconds has no use for a collection. Who runs
	// many of them can say so in the environment, which takes less time.
	if os.Getenv("GOGC") != "off" {
		debug.SetGCPercent(-1)
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	g := &global{root: "/run/berth-runtime", logFormat: "text"}
	f := newFlags()
	f.str(&g.root, "root")
	f.str(&g.log, "log")
	f.str(&g.logFormat, "log-format")
	f.flag(&g.debug, "debug")
	f.flag(&g.systemd, "systemd-cgroup")
	f.str(&g.rootless, "rootless")
	f.fn(func(string) error { return nil }, "criu")
	var showVersion, help bool
	f.flag(&showVersion, "version", "v")
	f.flag(&help, "help", "h")
	args, err := f.parse(args)
	switch {
	case err != nil:
	case showVersion:
		printVersion()
		return 0
	case help || len(args) == 0 || args[0] == "help":
		fmt.Print(usage)
		return 0
	case g.logFormat != "text" && g.logFormat != "json":
		err = fmt.Errorf("invalid log format %q", g.logFormat)
	case g.systemd:
		err = &runtime.UnsupportedError{Feature: "--systemd-cgroup"}
	default:
		do := verbNamed(args[0])
		if do == nil {
			err = fmt.Errorf("no such command: %s", args[0])
			break
		}
		err = do(context.Background(), g, args[1:])
	}
	var status exitStatus
	var warning *runtime.WarningError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &warning):
		g.report("warning", err)
		return 0
	}
	g.report("error", err)
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 1
}

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// report tells an error or a warning to people, or to the engine that asked for a log:
// standard error belongs to the container's client then, as crun has it.
func (g *global) report(level string, err error) {
	if g.log == "" {
		fmt.Fprintln(os.Stderr, "berth-runtime: "+err.Error())
		return
	}
	w, openErr := os.OpenFile(g.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND|os.O_SYNC, 0o644)
	if openErr != nil {
		fmt.Fprintf(os.Stderr, "berth-runtime: %v (no log: %v)\n", err, openErr)
		return
	}
	defer w.Close()
	now := time.Now().Format(time.RFC3339)
	if g.logFormat != "json" {
		fmt.Fprintf(w, "time=%q level=%s msg=%q\n", now, level, err.Error())
		return
	}
	b, jsonErr := json.Marshal(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{level, err.Error(), now})
	if jsonErr == nil {
		w.Write(append(b, '\n')) //nolint:errcheck // the error itself is on its way to stderr
	}
}

func printVersion() {
	fmt.Println("berth-runtime version " + version)
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				fmt.Println("commit: " + s.Value)
			}
		}
		fmt.Println("spec: " + specs.Version)
		fmt.Println("go: " + bi.GoVersion)
	}
}

const usage = `usage: berth-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND ...

  create  [-b BUNDLE] [--pid-file F] [--console-socket S] [--preserve-fds N] [--no-new-keyring] ID
  start   ID
  run     [-d] [the flags of create] ID
  exec    [-t] [-d] [-u USER[:GROUP]] [--cwd D] [-e K=V]... [--cap C]... [-p FILE] ID COMMAND ARG...
  state   ID
  list    [-f table|json] [-q]
  kill    [-a] ID [SIGNAL]
  delete  [-f] ID
  spec    [-b BUNDLE]
`

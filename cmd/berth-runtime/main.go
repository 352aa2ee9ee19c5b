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
	"strings"
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
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		g.root = dir + "/berth-runtime"
	}
	f := newFlags()
	f.str(&g.root, "root")
	f.str(&g.log, "log")
	f.str(&g.logFormat, "log-format")
	f.flag(&g.debug, "debug")
	f.flag(&g.systemd, "systemd-cgroup")
	f.str(&g.rootless, "rootless")
	f.fn(func(string) error { return nil }, "criu")
	var showVersion bool
	f.flag(&showVersion, "version", "v")
	args, err := f.parse(args)
	switch {
	case errors.Is(err, errHelp) || err == nil && !showVersion && len(args) == 0:
		fmt.Print(usage)
		return 0
	case err != nil:
	case showVersion:
		printVersion()
		return 0
	case args[0] == "help" || args[0] == "h":
		return showHelp(args[1:])
	case g.logFormat != "text" && g.logFormat != "json":
		err = fmt.Errorf("invalid log format %q", g.logFormat)
	default:
		do := verbNamed(args[0])
		if do == nil {
			err = fmt.Errorf("no such command: %s", args[0])
			break
		}
		if g.debug {
			g.say("debug", "berth-runtime "+version+": "+strings.Join(args, " "))
		}
		err = do(context.Background(), g, args[1:])
	}
	var status exitStatus
	var warning *runtime.WarningError
	var misuse usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &warning):
		g.report("warning", err)
		return 0
	case errors.Is(err, errHelp):
		return showHelp(args[:1])
	case errors.As(err, &misuse) && len(args) > 0:
		err = fmt.Errorf("%s: %w", args[0], err)
		fmt.Fprint(os.Stderr, "Incorrect Usage.\n\nUSAGE:\n   berth-runtime "+args[0]+" "+helpOf(args[0])+"\n")
	}
	g.report("error", err)
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 1
}

// showHelp shows the help of one verb, or of the program.
func showHelp(args []string) int {
	if len(args) == 0 {
		fmt.Print(usage)
		return 0
	}
	text := helpOf(args[0])
	if text == "" {
		fmt.Printf("No help topic for '%s'\n", args[0])
		return 3
	}
	fmt.Print("USAGE:\n   berth-runtime " + args[0] + " " + text)
	return 0
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
	if logErr := g.say(level, err.Error()); logErr != nil {
		fmt.Fprintf(os.Stderr, "berth-runtime: %v (no log: %v)\n", err, logErr)
	}
}

// say writes a line to the log.
func (g *global) say(level, text string) error {
	name := g.log
	if name == "" {
		name = "/dev/stderr"
	}
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND|os.O_SYNC, 0o644)
	if err != nil {
		return err
	}
	defer w.Close()
	now := time.Now().Format(time.RFC3339)
	if g.logFormat != "json" {
		_, err := fmt.Fprintf(w, "time=%q level=%s msg=%q\n", now, level, text)
		return err
	}
	b, err := json.Marshal(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{level, text, now})
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
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

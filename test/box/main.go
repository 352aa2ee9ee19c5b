package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

const usage = `usage:
  box boot [flags] NAME ROOTFS    ROOTFS is "/", a directory, or a tree of the cache (trixie, bookworm)
      --layer DIR                 a tree that lies over ROOTFS, read-only (repeatable, the last one on top)
      --bind SRC:DST[:ro]         a directory or file of the machine (repeatable)
      --disk                      container storage on the machine's disk instead of memory
      --memory SIZE               upper bound of what the box may write to memory (50%)
      --timeout DURATION          for reaching multi-user.target (60s)
      --quiet                     print nothing when all is well
  box exec [-t] [-e K=V] NAME CMD [ARG...]
  box shell NAME
  box cp SRC NAME:DST | NAME:SRC DST
  box list
  box kill NAME... | --all
`

// exitStatus is the status of a command that ran in a box: it is passed on without a message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// errUsage makes main print the usage text.
var errUsage = errors.New("bad usage")

func main() {
	err := run(os.Args[1:])
	var status exitStatus
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "box: %v\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "box: %v\n", err)
		os.Exit(125)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	verb, args := args[0], args[1:]
	if verb == "help" || verb == "--help" || verb == "-h" {
		fmt.Print(usage)
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	switch verb {
	case "boot":
		return boot(args)
	case initVerb:
		return initBox(args)
	case "exec":
		return execVerb(args)
	case "shell":
		if len(args) != 1 {
			return errUsage
		}
		return execVerb([]string{"-t", args[0], "bash", "-l"})
	case "cp":
		return copyVerb(args)
	case "list":
		return list()
	case "kill":
		return killVerb(args)
	}
	return fmt.Errorf("%w: unknown verb %q", errUsage, verb)
}

func list() error {
	names, err := boxes()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tPID\tAGE\tROOTFS")
	for _, name := range names {
		b, err := load(name)
		if err != nil {
			fmt.Fprintf(w, "%s\tbroken\t-\t-\t%v\n", name, err)
			continue
		}
		state := "running"
		if !b.alive() {
			state = "dead"
		}
		tree := strings.Join(append([]string{b.Rootfs}, b.Layers...), " + ")
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", name, state, b.Pid, time.Since(b.Booted).Round(time.Second), tree)
	}
	return w.Flush()
}

func killVerb(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if args[0] == "--all" {
		names, err := boxes()
		if err != nil {
			return err
		}
		args = names
	}
	var errs []error
	for _, name := range args {
		if err := kill(name); err != nil {
			errs = append(errs, fmt.Errorf("kill %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// copyVerb copies by running cp in the box: paths of the box are resolved by the box, paths of the machine by an open
// directory that the command inherits as descriptor 3.
func copyVerb(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	srcBox, src, fromBox := strings.Cut(args[0], ":")
	dstBox, dst, toBox := strings.Cut(args[1], ":")
	switch {
	case toBox && !fromBox:
		dir, base := filepath.Split(filepath.Clean(args[0]))
		return copyIn(dstBox, dir, "/proc/self/fd/3/"+base, dst)
	case fromBox && !toBox:
		dir, base := args[1], ""
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			dir, base = filepath.Split(filepath.Clean(dir))
		}
		return copyIn(srcBox, dir, src, "/proc/self/fd/3/"+base)
	}
	return fmt.Errorf("%w: one of the two must be NAME:PATH", errUsage)
}

func copyIn(name, hostDir, src, dst string) error {
	if hostDir == "" {
		hostDir = "."
	}
	dir, err := os.Open(hostDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	b, err := load(name)
	if err != nil {
		return err
	}
	return b.exec(command{Args: []string{"cp", "-a", "--", src, dst}, Files: []*os.File{dir}})
}

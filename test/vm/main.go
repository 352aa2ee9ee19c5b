package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

const usage = `usage:
  vm boot [flags] NAME TREE       TREE is vm-bookworm or vm-trixie, or one of these with -full
      --layer DIR                 a tree whose files lie over TREE (repeatable, the last one wins)
      --memory SIZE               (2G)
      --cpus N                    (2)
      --disk SIZE                 of the root file system (8G)
      --append ARGS               more of the kernel's command line
      --timeout DURATION          (180s)
      --quiet                     print nothing when all is well
  vm exec [-t] [-e K=V] NAME CMD [ARG...]
  vm shell NAME
  vm cp SRC NAME:DST | NAME:SRC DST
  vm list
  vm kill NAME... | --all
`

// exitStatus is the status of a command that ran in a VM: it is passed on without a message.
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
		fmt.Fprintf(os.Stderr, "vm: %v\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "vm: %v\n", err)
		os.Exit(125)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "help", "--help", "-h":
		fmt.Print(usage)
		return nil
	case "boot":
		return boot(args)
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
	names, err := machines()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tPID\tAGE\tTREE")
	for _, name := range names {
		m, err := load(name)
		if err != nil {
			fmt.Fprintf(w, "%s\tbroken\t-\t-\t%v\n", name, err)
			continue
		}
		state := "running"
		if !m.alive() {
			state = "dead"
		}
		tree := strings.Join(append([]string{m.Tree}, m.Layers...), " + ")
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", name, state, m.Pid, time.Since(m.Booted).Round(time.Second), tree)
	}
	return w.Flush()
}

func killVerb(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if args[0] == "--all" {
		names, err := machines()
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

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// place is where a lane runs: which tool boots which tree.
type place struct {
	tool, tree string
}

var places = map[string]place{
	"box252": {"box", "bookworm"},
	"box257": {"box", "trixie"},
	"vm252":  {"vm", "vm-bookworm"},
	"vm257":  {"vm", "vm-trixie"},
	// Debian's full kernel, and what loads AppArmor profiles; not one of "all".
	"vmfull257": {"vm", "vm-trixie-full"},
}

// allLanes is the order of "all": the quick ones first.
var allLanes = []string{"box257", "box252", "vm257", "vm252"}

// options are the command line.
type options struct {
	run, skip string
	timeout   time.Duration
	product   string
	out       string
	packages  string
	verbose   bool
	keep      bool
	lanes     []string
}

func main() {
	opts, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lane:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := runLanes(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "lane:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func parse(args []string) (options, error) {
	var o options
	fl := flag.NewFlagSet("lane", flag.ContinueOnError)
	fl.StringVar(&o.run, "run", "", "run only tests that match `regexp`")
	fl.StringVar(&o.skip, "skip", "", "leave out tests that match `regexp`")
	fl.DurationVar(&o.timeout, "timeout", 10*time.Minute, "for the tests of one lane")
	fl.StringVar(&o.product, "product", "dist/root", "installed `tree` of the product; tests that need it skip without")
	fl.StringVar(&o.out, "out", "dist/lanes", "`folder` for journals")
	fl.StringVar(&o.packages, "packages", "./runtime ./test/e2e/...", "test `packages`")
	fl.BoolVar(&o.verbose, "v", false, "print everything the tests print")
	fl.BoolVar(&o.keep, "keep", false, "leave box or VM running when a test failed")
	if err := fl.Parse(args); err != nil {
		return o, err
	}
	o.lanes = fl.Args()
	if slices.Equal(o.lanes, []string{"all"}) {
		o.lanes = allLanes
	}
	if len(o.lanes) == 0 {
		return o, fmt.Errorf("no lane named: want some of %s, or all", strings.Join(allLanes, ", "))
	}
	for _, name := range o.lanes {
		if _, ok := places[name]; !ok {
			return o, fmt.Errorf("unknown lane %s: want some of %s, or all", name, strings.Join(allLanes, ", "))
		}
	}
	return o, nil
}

func runLanes(ctx context.Context, o options) error {
	if err := prepare(ctx, o.lanes); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	scratch, err := os.MkdirTemp("", "berth-lane-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	binaries, err := compile(ctx, o.packages, filepath.Join(scratch, testDir))
	if err != nil {
		return fmt.Errorf("compile tests: %w", err)
	}
	var total counts
	var errs []error
	for _, name := range o.lanes {
		l := &lane{name: name, place: places[name], options: o, tests: scratch, binaries: binaries, out: os.Stdout}
		start := time.Now()
		c, err := l.do(ctx)
		fmt.Printf("%s: %s (%.1f s)\n", name, c, time.Since(start).Seconds())
		total.add(c)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(o.lanes) > 1 {
		fmt.Printf("all lanes: %s\n", total)
	}
	if total.failed > 0 {
		errs = append(errs, fmt.Errorf("%d tests failed", total.failed))
	}
	return errors.Join(errs...)
}

// prepare brings tools, trees and images up to date.
func prepare(ctx context.Context, lanes []string) error {
	var trees []string
	for _, name := range lanes {
		trees = append(trees, places[name].tree)
	}
	cmd := exec.CommandContext(ctx, "test/prepare", trees...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// compile builds one test binary per package that has tests, named as go test would.
func compile(ctx context.Context, packages, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-c", "-o", dir + "/"}, strings.Fields(packages)...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	binaries, err := filepath.Glob(filepath.Join(dir, "*.test"))
	if err == nil && len(binaries) == 0 {
		err = fmt.Errorf("no tests in %s", packages)
	}
	return binaries, err
}

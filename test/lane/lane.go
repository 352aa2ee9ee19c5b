package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// testDir is where the compiled tests are in a lane.
const testDir = "usr/libexec/berth-e2e"

// lane is one run of the tests in one box or VM.
type lane struct {
	name string
	place
	options
	tests    string   // a tree with testDir in it
	binaries []string // in there
	out      io.Writer
}

// instance is the name of the box or VM: unique, so that several runs fit on one machine.
func (l *lane) instance() string { return l.name + "-" + strconv.Itoa(os.Getpid()) }

// tool runs test/bin/box or test/bin/vm.
func (l *lane) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join("test/bin", l.tool), args...)
	// The lane ends what it has booted, also after Ctrl-C, which reaches the whole process group.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// do boots, tests and kills.
func (l *lane) do(ctx context.Context) (c counts, err error) {
	cache := os.Getenv("BERTH_CACHE")
	if cache == "" {
		cache = "/var/cache/berth-test"
	}
	boot := []string{"boot", "--layer", "test/registry", "--layer", filepath.Join(cache, "images"), "--layer", l.tests}
	if l.tool == "box" { // a VM would copy all of it
		boot = append(boot, "--layer", filepath.Join(cache, "validation"))
	}
	env := []string{"BERTH_LANE=" + l.name}
	if st, err := os.Stat(l.product); err == nil && st.IsDir() {
		boot = append(boot, "--layer", l.product)
		env = append(env, "BERTH_PRODUCT=1")
	}
	cmd := l.command(ctx, append(boot, l.instance(), l.tree)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("boot: %w", err)
	}
	defer func() {
		if l.keep && c.failed > 0 {
			fmt.Fprintf(l.out, "%s: still running: test/bin/%s shell %s\n", l.name, l.tool, l.instance())
			return
		}
		// Not by ctx: what has been booted goes, whatever has happened.
		kill := l.command(context.Background(), "kill", l.instance())
		kill.Stderr = os.Stderr
		if killErr := kill.Run(); killErr != nil {
			err = errors.Join(err, fmt.Errorf("kill: %w", killErr))
		}
	}()
	for _, binary := range l.binaries {
		got, testErr := l.test(ctx, env, filepath.Base(binary))
		c.add(got)
		err = errors.Join(err, testErr)
	}
	if c.failed > 0 || err != nil {
		err = errors.Join(err, l.keepJournal())
	}
	return c, err
}

// test runs one test binary.
func (l *lane) test(ctx context.Context, env []string, binary string) (counts, error) {
	args := []string{"exec"}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	args = append(args, l.instance(), "/"+testDir+"/"+binary, "-test.v=test2json", "-test.timeout="+l.timeout.String())
	if l.run != "" {
		args = append(args, "-test.run="+l.run)
	}
	if l.skip != "" {
		args = append(args, "-test.skip="+l.skip)
	}
	cmd := l.command(ctx, args...)
	cmd.Stderr = os.Stderr
	tests, err := cmd.StdoutPipe()
	if err != nil {
		return counts{}, err
	}
	// The toolchain's own reader of what tests print. By its path: killing go tool would leave it behind, and the pipe open.
	converter, err := exec.CommandContext(ctx, "go", "tool", "-n", "test2json").Output()
	if err != nil {
		return counts{}, fmt.Errorf("find test2json: %w", err)
	}
	convert := exec.CommandContext(ctx, strings.TrimSpace(string(converter)), "-p", strings.TrimSuffix(binary, ".test"))
	convert.Stdin, convert.Stderr = tests, os.Stderr
	events, err := convert.StdoutPipe()
	if err != nil {
		return counts{}, err
	}
	if err := errors.Join(convert.Start(), cmd.Start()); err != nil {
		return counts{}, err
	}
	c, err := report(l.out, events, l.verbose)
	err = errors.Join(err, convert.Wait())
	if ended := cmd.Wait(); ended != nil && c.failed == 0 {
		err = errors.Join(err, fmt.Errorf("%s ended without a failed test: %w", binary, ended))
	}
	return c, err
}

// keepJournal saves the lane's journal and prints its end.
func (l *lane) keepJournal() error {
	if err := os.MkdirAll(l.options.out, 0o755); err != nil {
		return err
	}
	path := filepath.Join(l.options.out, l.name+".journal")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := l.command(ctx, "exec", l.instance(), "journalctl", "--no-pager", "-b", "-o", "short-precise")
	cmd.Stdout, cmd.Stderr = f, f
	if err := errors.Join(cmd.Run(), f.Close()); err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	fmt.Fprintf(l.out, "the last of %d lines in %s:\n", len(lines), path)
	for _, line := range lines[max(0, len(lines)-20):] {
		fmt.Fprintln(l.out, "    "+line)
	}
	return nil
}

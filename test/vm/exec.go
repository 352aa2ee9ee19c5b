package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sshOptions share one connection among all commands of a VM: an emulated CPU takes a second for the handshake.
func (m *machine) sshOptions() []string {
	return []string{
		"-F", "none", "-p", strconv.Itoa(m.Port), "-l", "root", "-i", cacheDir("vm", "id_ed25519"),
		"-o", "ControlPath=" + m.dir("ssh"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20",
		"-o", "Compression=no", "-o", "ServerAliveInterval=30",
	}
}

// connect starts the shared connection and says whether it stands.
func (m *machine) connect(ctx context.Context) bool {
	args := append(m.sshOptions(), "-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-N", "-f", "127.0.0.1")
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run() == nil
}

// closeConnection ends the shared connection's process, if there is one.
func (m *machine) closeConnection() {
	if _, err := os.Stat(m.dir("ssh")); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		exec.CommandContext(ctx, "ssh", append(m.sshOptions(), "-O", "exit", "127.0.0.1")...).Run()
	}
}

// ssh is a command that runs a line of shell in the VM.
func (m *machine) ssh(ctx context.Context, line string, flags ...string) *exec.Cmd {
	args := append(m.sshOptions(), "-o", "ControlMaster=no")
	args = append(append(args, flags...), "127.0.0.1", line)
	return exec.CommandContext(ctx, "ssh", args...)
}

func execVerb(args []string) error {
	var env []string
	fl := flag.NewFlagSet("vm exec", flag.ContinueOnError)
	fl.SetOutput(io.Discard)
	tty := fl.Bool("t", false, "")
	fl.Func("e", "", func(s string) error { env = append(env, s); return nil })
	if err := fl.Parse(args); err != nil {
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	if fl.NArg() < 2 {
		return errUsage
	}
	m, err := load(fl.Arg(0))
	if err != nil {
		return err
	}
	var flags []string
	if *tty {
		flags = []string{"-tt"}
	}
	// A signal that ends this process must not leave ssh behind, which keeps our output open.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGHUP, unix.SIGTERM)
	defer stop()
	cmd := m.ssh(ctx, line(fl.Args()[1:], env), flags...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return m.status(cmd.Run())
}

// line is the shell's for a command in a clean environment. The shell stays until it has ended, and so turns a signal
// into a status.
func line(args, env []string) string {
	words := []string{"cd; env -i",
		"HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM=${TERM:-xterm}",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, w := range append(env, args...) {
		words = append(words, quote(w))
	}
	return strings.Join(words, " ") + "; exit $?"
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (m *machine) status(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if exit.ExitCode() == 255 && !m.alive() {
		return fmt.Errorf("vm %s is not running (vm kill %s removes it)", m.Name, m.Name)
	}
	return exitStatus(exit.ExitCode())
}

// copyVerb copies like cp -a, by tar through the shared connection.
func copyVerb(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	srcVM, src, from := strings.Cut(args[0], ":")
	dstVM, dst, to := strings.Cut(args[1], ":")
	switch {
	case to && !from:
		m, err := load(dstVM)
		if err != nil {
			return err
		}
		dir, base := filepath.Split(filepath.Clean(args[0]))
		pack := exec.Command("tar", "-c", "-C", orDot(dir), "--", base)
		return m.pipe(pack, m.ssh(context.Background(), unpackLine(base, dst)))
	case from && !to:
		m, err := load(srcVM)
		if err != nil {
			return err
		}
		dir, base := filepath.Split(filepath.Clean(src))
		pack := m.ssh(context.Background(), "tar -c -C "+quote(orDot(dir))+" -- "+quote(base))
		return m.pipe(pack, exec.Command("sh", "-c", unpackLine(base, args[1])))
	}
	return fmt.Errorf("%w: one of the two must be NAME:PATH", errUsage)
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// unpackLine puts what tar calls base at dst: into it where that is a directory, else under that name.
func unpackLine(base, dst string) string {
	q := quote(dst)
	return "set -e; if [ -d " + q + " ]; then exec tar -xp -C " + q + "; fi; " +
		"t=$(mktemp -d " + q + ".XXXXXX); tar -xp -C \"$t\"; mv -T \"$t\"/" + quote(base) + " " + q + "; rmdir \"$t\""
}

// pipe runs two commands with the output of one as the input of the other.
func (m *machine) pipe(from, to *exec.Cmd) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	from.Stdout, to.Stdin = w, r
	from.Stderr, to.Stderr, to.Stdout = os.Stderr, os.Stderr, os.Stdout
	startErr := errors.Join(from.Start(), to.Start())
	r.Close()
	w.Close()
	if startErr != nil {
		return startErr
	}
	fromErr, toErr := from.Wait(), to.Wait()
	if fromErr != nil {
		return m.status(fromErr)
	}
	return m.status(toErr)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// contender is what takes turns with others. Only do is timed; the rest may be nil.
type contender struct {
	name   string
	before func(round int) error
	do     func(round int) error
	after  func(round int) error
}

// sample is one turn.
type sample struct {
	Wall   float64 `json:"wall_ms"`
	CPU    float64 `json:"cpu_ms"`        // of the whole box
	Client float64 `json:"client_cpu_ms"` // of the processes that were waited for
}

// race lets the contenders take turns: warm rounds that do not count (their number is negative), then n that do. Each
// round begins with the next contender. One that fails is out of the race.
func (b *bench) race(ctx context.Context, warm, n int, contenders []contender) []result {
	results := make([]result, len(contenders))
	for i, c := range contenders {
		results[i].Name = c.name
	}
	for round := -warm; round < n; round++ {
		for i := range contenders {
			k := (i + round + warm) % len(contenders)
			if results[k].Error != "" {
				continue
			}
			s, err := turn(ctx, contenders[k], round)
			if err != nil {
				results[k].Error = err.Error()
				continue
			}
			if round >= 0 {
				results[k].Samples = append(results[k].Samples, s)
			}
		}
	}
	return results
}

func turn(ctx context.Context, c contender, round int) (s sample, err error) {
	if err := ctx.Err(); err != nil {
		return s, errors.New("no time left")
	}
	if c.before != nil {
		if err := c.before(round); err != nil {
			return s, err
		}
	}
	cpu, client, begun := boxCPU(), childrenCPU(), time.Now()
	err = c.do(round)
	s.Wall = ms(time.Since(begun))
	s.Client = ms(childrenCPU() - client)
	settle()
	s.CPU = ms(boxCPU() - cpu)
	if c.after != nil {
		err = errors.Join(err, c.after(round))
	}
	return s, err
}

// settle waits until what a turn has left to do in the background is done: it is this turn's CPU time, and none of the
// next contender's wait.
func settle() {
	const step, idle = 10 * time.Millisecond, time.Millisecond
	last := boxCPU()
	for range 30 {
		time.Sleep(step)
		now := boxCPU()
		if now-last < idle {
			return
		}
		last = now
	}
}

// each is a contender that is one command.
func each(ctx context.Context, name string, args ...string) contender {
	return contender{name: name, do: func(int) error { return command(ctx, args...) }}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// boxCPU is the CPU time of all that ever ran in the box. The file is there without any controller.
func boxCPU() time.Duration {
	data, err := os.ReadFile("/sys/fs/cgroup/cpu.stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Duration(n) * time.Microsecond
		}
	}
	return 0
}

func childrenCPU() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// commandLimit ends a command that hangs, so that a run ends in time.
const commandLimit = 60 * time.Second

// command runs a command without stdin and stdout. Its stderr goes to a file, which costs the same whoever writes; the
// end of it is in the error.
func command(ctx context.Context, args ...string) error {
	return spawn(ctx, nil, args...)
}

// output is command with the standard output returned.
func output(ctx context.Context, args ...string) (string, error) {
	out, err := scratch("stdout")
	if err != nil {
		return "", err
	}
	defer out.Close()
	err = spawn(ctx, out, args...)
	data, readErr := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", out.Fd()))
	return string(data), errors.Join(err, readErr)
}

func spawn(ctx context.Context, stdout *os.File, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	stderr, err := scratch("stderr")
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = stderr
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	if err := cmd.Run(); err != nil {
		said := make([]byte, 2000)
		n, _ := stderr.ReadAt(said, 0)
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said[:n]))
	}
	return nil
}

// scratch is a file in memory.
func scratch(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create memfd: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

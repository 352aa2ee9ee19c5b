package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initVerb is the hidden verb that boot runs in the new namespaces.
const initVerb = "init-in-new-namespaces"

func boot(args []string) (err error) {
	b := &box{Booted: time.Now()}
	fl := flag.NewFlagSet("box boot", flag.ContinueOnError)
	fl.SetOutput(io.Discard)
	fl.Func("layer", "", func(s string) error { b.Layers = append(b.Layers, s); return nil })
	fl.Func("bind", "", func(s string) error {
		v, err := parseBind(s)
		b.Binds = append(b.Binds, v)
		return err
	})
	fl.BoolVar(&b.Disk, "disk", false, "")
	fl.StringVar(&b.Memory, "memory", "50%", "")
	timeout := fl.Duration("timeout", 60*time.Second, "")
	quiet := fl.Bool("quiet", false, "")
	if err := fl.Parse(args); err != nil {
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	if fl.NArg() != 2 {
		return errUsage
	}
	b.Name = fl.Arg(0)
	if err := b.findTrees(fl.Arg(1)); err != nil {
		return err
	}
	if err := b.create(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, kill(b.Name))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := b.start(ctx); err != nil {
		return fmt.Errorf("boot %s: %w", b.Name, err)
	}
	if !*quiet {
		fmt.Printf("%s: up in %.1f s\n", b.Name, time.Since(b.Booted).Seconds())
	}
	return b.warnFailed()
}

// parseBind reads SRC:DST[:ro].
func parseBind(s string) (bind, error) {
	src, dst, ok := strings.Cut(s, ":")
	dst, mode, hasMode := strings.Cut(dst, ":")
	if !ok || src == "" || !filepath.IsAbs(dst) || hasMode && mode != "ro" && mode != "rw" {
		return bind{}, fmt.Errorf("bad bind %q: want SRC:/DST[:ro]", s)
	}
	src, err := filepath.Abs(src)
	if err != nil {
		return bind{}, err
	}
	if _, err := os.Stat(src); err != nil {
		return bind{}, err
	}
	return bind{Src: src, Dst: dst, ReadOnly: mode == "ro"}, nil
}

// findTrees makes the rootfs and the layers absolute, with links resolved: a tree's link in the cache may move on.
func (b *box) findTrees(rootfs string) error {
	if !strings.Contains(rootfs, "/") {
		cache := os.Getenv("BERTH_CACHE")
		if cache == "" {
			cache = "/var/cache/berth-test"
		}
		tree := filepath.Join(cache, "rootfs", rootfs)
		if _, err := os.Stat(tree); err != nil {
			return fmt.Errorf("tree %s is not in the cache: run test/rootfs %s", rootfs, rootfs)
		}
		rootfs = tree
	}
	b.Rootfs = rootfs
	for _, dir := range append([]*string{&b.Rootfs}, pointers(b.Layers)...) {
		abs, err := filepath.Abs(*dir)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return err
		}
		if st, err := os.Stat(abs); err != nil || !st.IsDir() {
			return fmt.Errorf("%s is not a directory", abs)
		}
		*dir = abs
	}
	return nil
}

func pointers[T any](s []T) []*T {
	p := make([]*T, len(s))
	for i := range s {
		p[i] = &s[i]
	}
	return p
}

// start runs the init stage in new namespaces and waits until systemd says that it has booted.
func (b *box) start(ctx context.Context) error {
	for _, d := range append([]string{"up", "root", "host"}, storageDirs(b.dir("disk"))...) {
		if !filepath.IsAbs(d) {
			d = b.dir(d)
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	cgroup, err := makeCgroup(b.Name)
	if err != nil {
		return err
	}
	b.Cgroup = cgroup
	if err := b.save(); err != nil {
		return err
	}

	// A socket in the file system reaches across network namespaces, an abstract one would not.
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: b.dir("host", "notify"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer notify.Close()

	cgroupDir, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer cgroupDir.Close()
	log, err := os.Create(b.dir("log"))
	if err != nil {
		return err
	}
	defer log.Close()

	cmd := exec.Command("/proc/self/exe", initVerb, b.Name)
	cmd.Env = append(os.Environ(), "BERTH_BOX_DIR="+stateDir())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		UseCgroupFD: true,
		CgroupFD:    int(cgroupDir.Fd()),
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	b.Pid = cmd.Process.Pid
	if b.Started, err = startTime(b.Pid); err != nil {
		_ = cmd.Wait() // it is dead already, and has said why
		return fmt.Errorf("PID 1 exited%s", b.tail())
	}
	if err := b.save(); err != nil {
		return err
	}
	// The box outlives this process, which waits for PID 1 only to notice that it died while booting.
	died := make(chan struct{})
	go func() { defer notify.Close(); cmd.Wait(); close(died) }()
	err = waitReady(ctx, notify)
	select {
	case <-died:
		err = errors.New("PID 1 exited")
	default:
	}
	if err != nil {
		return fmt.Errorf("%w%s", err, b.tail())
	}
	return nil
}

// waitReady reads sd_notify datagrams until systemd's READY=1, which as PID 1 of a container it sends when the boot
// transaction is done.
func waitReady(ctx context.Context, notify *net.UnixConn) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := notify.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	buf := make([]byte, 4096)
	status := "none"
	for {
		n, err := notify.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("not up in time, last status: %s", status)
		} else if err != nil {
			return err
		}
		for line := range strings.Lines(string(buf[:n])) {
			line = strings.TrimSuffix(line, "\n")
			if line == "READY=1" {
				return nil
			}
			if s, ok := strings.CutPrefix(line, "STATUS="); ok {
				status = s
			}
		}
	}
}

// tail is the end of the boot log, for an error message.
func (b *box) tail() string {
	data, err := os.ReadFile(b.dir("log"))
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "\n  " + strings.Join(lines[max(0, len(lines)-10):], "\n  ")
}

// warnFailed names the units that did not start: a box in that state is usable, and its tests may be misled.
func (b *box) warnFailed() error {
	var out strings.Builder
	err := b.exec(command{Args: []string{"systemctl", "list-units", "--failed", "--plain", "--no-legend"}, Stdout: &out})
	if err != nil {
		return err
	}
	for line := range strings.Lines(out.String()) {
		fmt.Fprintf(os.Stderr, "box: %s: failed unit: %s", b.Name, line)
	}
	return nil
}

package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

// Restore makes a container in the store at root, from a bundle and an image. It
// runs when this returns, and its init is a child of the calling process.
func Restore(ctx context.Context, root, id, bundle string, opt *runtime.CreateOptions, o *Options) (*runtime.Container, *runtime.Child, error) {
	r, err := runtime.Revive(ctx, root, id, bundle, opt)
	if err != nil {
		return nil, nil, err
	}
	x := &restoring{r: r, o: o}
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // and never unlocked: it has a mount namespace of its own
		done <- x.run()
	}()
	if err := <-done; err != nil {
		if x.pid > 0 {
			unix.Kill(x.pid, unix.SIGKILL)
			var ws unix.WaitStatus
			unix.Wait4(x.pid, &ws, 0, nil) //nolint:errcheck // the failure itself is the one to tell
		}
		r.Abandon()
		return nil, nil, fmt.Errorf("restore %s: %w", id, err)
	}
	r.Close()
	return x.c, x.child, nil
}

// restoring is one restore on its way.
type restoring struct {
	r     *runtime.Revival
	o     *Options
	pid   int
	c     *runtime.Container
	child *runtime.Child
}

func (x *restoring) run() error {
	spec := x.r.Spec()
	opts, err := x.o.request()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(x.o.ImagePath, "inventory.img")); err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	p, err := newPeer()
	if err != nil {
		return err
	}
	defer p.close()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// In the new namespace: CRIU mounts below its work directory.
	if err := p.directories(x.o, opts, "restore.log", len(spec.Linux.UIDMappings) > 0); err != nil {
		return err
	}
	path, err := x.r.MountRoot()
	if err != nil {
		return err
	}
	opts.Root = &path
	opts.RstSibling = new(true)
	opts.External = external(mounts(spec), true)
	if x.o.LSMProfile != "" {
		opts.LsmProfile = &x.o.LSMProfile
	}
	if x.o.LSMMountContext != "" {
		opts.LsmMountContext = &x.o.LSMMountContext
	}
	given, err := p.giveNamespaces(spec)
	if err != nil {
		return err
	}
	if err := p.giveDescriptors(x.o.ImagePath, spec, given); err != nil {
		return err
	}
	for key, fd := range given {
		opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: &key, Fd: &fd})
	}
	cgroup := -1
	if dir := x.r.Cgroup(); dir != "" {
		if cgroup, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open cgroup %s: %w", dir, err)
		}
		defer unix.Close(cgroup)
	}
	if err := p.start(cgroup); err != nil {
		return err
	}
	if err := x.r.Place(p.cmd.Process.Pid); err != nil {
		return err
	}
	if x.r.Cgroup() != "" && opts.GetManageCgroupsMode() != rpc.CriuCgMode_IGNORE {
		own, err := cgroupPath(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		opts.CgRoot = []*rpc.CgroupRoot{{Path: &own}}
	}
	if err := p.request(rpc.CriuReqType_RESTORE, opts, x.notify); err != nil {
		return err
	}
	if x.c == nil {
		return errors.New("criu did not say which process it has made")
	}
	return nil
}

// notify does what is ours to do at the points that CRIU stops at.
func (x *restoring) notify(n *rpc.CriuNotify, f *os.File) error {
	defer closeFile(f)
	switch n.GetScript() {
	case "setup-namespaces":
		x.pid = int(n.GetPid())
		return x.r.Hooks(x.pid)
	case "post-restore":
		x.pid = int(n.GetPid())
		var err error
		x.c, x.child, err = x.r.Adopt(x.pid)
		return err
	case "orphan-pts-master":
		if f == nil {
			return errors.New("criu sent no terminal")
		}
		return x.r.Console(f)
	}
	return nil
}

// giveDescriptors gives CRIU our standard descriptors in the place of the pipes
// that the init had.
func (p *peer) giveDescriptors(image string, spec *specs.Spec, given map[string]int32) error {
	if spec.Process.Terminal {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(image, descriptorsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("parse %s: %w", descriptorsFile, err)
	}
	for i, name := range list {
		if i > 2 || !strings.HasPrefix(name, "pipe:") {
			continue
		}
		if _, ok := given[name]; ok {
			continue
		}
		fd, err := unix.FcntlInt(uintptr(i), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("duplicate descriptor %d: %w", i, err)
		}
		given[name] = p.give(os.NewFile(uintptr(fd), name))
	}
	return nil
}

// cgroupPath is the cgroup v2 path of a process.
func cgroupPath(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(p), nil
		}
	}
	return "", &runtime.UnsupportedError{Feature: "cgroup", Needs: "cgroup v2"}
}

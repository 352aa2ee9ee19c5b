package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine/bundle"
	"github.com/berthrun/berth/image"
)

// CreateOptions are how to create, as opposed to what.
type CreateOptions struct {
	Replace bool              // remove a container of the same name first
	Pull    PullOptions       // for an image that is not here
	Warn    func(text string) // told what was asked for and cannot hold
}

// Create makes a container that can be started by either door.
func Create(ctx context.Context, h *Host, spec container.Spec, o *CreateOptions) (*container.Record, error) {
	r, p, err := prepare(ctx, h, spec, o)
	if err != nil {
		return nil, err
	}
	if err := writeDropIn(h, r); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := h.Containers.Commit(r.ID); err != nil {
		return nil, errors.Join(err, removeDropIn(h, r.Name), p.Close())
	}
	return r, p.Close()
}

// prepare resolves spec on this machine and puts the result on disk: complete,
// and seen by nobody until it is committed.
func prepare(ctx context.Context, h *Host, spec container.Spec, o *CreateOptions) (*container.Record, *container.Pending, error) {
	if o == nil {
		o = new(CreateOptions)
	}
	if err := check(&spec); err != nil {
		return nil, nil, err
	}
	if spec.Name != "" {
		if err := makeRoom(ctx, h, spec.Name, o.Replace); err != nil {
			return nil, nil, err
		}
	}
	r := &container.Record{
		Version: container.RecordVersion, ID: container.NewID(), Created: time.Now(),
		Terminal: spec.TTY, OpenStdin: spec.OpenStdin, AutoRemove: spec.AutoRemove,
		Restart: spec.Restart, Mounts: spec.Mounts,
	}
	if o.Warn != nil {
		for _, w := range append(unmetLimits(&spec.Resources), unmetRestart(spec.Restart)...) {
			o.Warn(w)
		}
	}
	image, err := resolveRootfs(ctx, h, &spec, r, o)
	if err != nil {
		return nil, nil, err
	}
	if err := resolveRun(h, &spec, r, image); err != nil {
		return nil, nil, err
	}
	r.Spec = spec
	join, err := joinPaths(h, &spec)
	if err != nil {
		return nil, nil, err
	}
	netDir, err := sharedNetwork(h, &spec)
	if err != nil {
		return nil, nil, err
	}
	r.Up = len(join) > 0
	in := &bundle.Input{
		Spec: &r.Spec, ID: r.ID, Dir: h.Containers.Dir(r.ID), Image: image, Tree: tree(r),
		Command: r.Command, Init: h.libexec("berth-init"), Join: join, NetDir: netDir,
		UnitRules: unitRules(r.Runtime),
	}
	fill := func(dir string) error { return fill(dir, in, r) }
	p, err := prepareNamed(h, r, spec.Name, fill)
	if err != nil {
		return nil, nil, err
	}
	if err := stillThere(r); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return r, p, nil
}

// prepareNamed gives the record the name asked for, or one that is free.
func prepareNamed(h *Host, r *container.Record, name string, fill func(string) error) (*container.Pending, error) {
	if name != "" {
		r.Name = name
		return h.Containers.Prepare(r, fill)
	}
	for {
		r.Name = randomName()
		p, err := h.Containers.Prepare(r, fill)
		if !errors.Is(err, container.ErrExists) {
			return p, err
		}
	}
}

// makeRoom looks for a container of this name before anything is pulled.
func makeRoom(ctx context.Context, h *Host, name string, replace bool) error {
	if err := container.CheckName(name); err != nil {
		return err
	}
	old, err := h.Containers.Load(name)
	if errors.Is(err, container.ErrDamaged) && replace {
		old, err = h.Containers.Remains(name)
	}
	if err != nil || old.Name != name {
		return nil // Prepare tells
	}
	if !replace {
		return fmt.Errorf("name container %q: %w by container %s: choose another one, or remove that container first", name, container.ErrExists, old.ID[:12])
	}
	_, err = Remove(ctx, h, name, RemoveOptions{Force: true})
	return err
}

func fill(dir string, in *bundle.Input, r *container.Record) error {
	if len(r.Rootfs.Lower) > 0 {
		if err := makeUpper(dir, r.Rootfs.Lower[len(r.Rootfs.Lower)-1]); err != nil {
			return fmt.Errorf("create container %s: %w", r.Name, err)
		}
	}
	return bundle.Write(dir, in)
}

// makeUpper makes the container's own overlay layer. The container's "/" has
// the upper directory's owner and mode: they are those of the base layer.
func makeUpper(dir, base string) error {
	if err := os.Mkdir(filepath.Join(dir, container.WorkDir), 0o700); err != nil {
		return err
	}
	upper := filepath.Join(dir, container.UpperDir)
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	st, err := os.Stat(base)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && (sys.Uid != 0 || sys.Gid != 0) {
		if err := os.Chown(upper, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(upper, st.Mode())
}

func tree(r *container.Record) bundle.Tree {
	if r.Rootfs.Path != "" {
		return bundle.Tree{r.Rootfs.Path}
	}
	return bundle.Tree(r.Rootfs.Lower)
}

// resolveRootfs finds what the container's "/" is made of and returns the
// image's configuration, empty for a plain directory.
func resolveRootfs(ctx context.Context, h *Host, spec *container.Spec, r *container.Record, o *CreateOptions) (*ispec.ImageConfig, error) {
	if spec.Rootfs != "" {
		dir, err := filepath.Abs(spec.Rootfs)
		if err != nil {
			return nil, err
		}
		st, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("rootfs %s: %w", spec.Rootfs, errors.Unwrap(err))
		}
		if !st.IsDir() {
			return nil, fmt.Errorf("rootfs %s: is no directory", spec.Rootfs)
		}
		r.Rootfs.Path = dir
		return new(ispec.ImageConfig), nil
	}
	pull := o.Pull
	pull.Policy, pull.Platform = spec.Pull, spec.Platform
	img, err := find(ctx, h, spec.Image, &pull)
	if err != nil {
		return nil, err
	}
	if o.Warn != nil && spec.Platform == "" {
		if w := foreign(spec.Image, img); w != "" {
			o.Warn(w)
		}
	}
	r.Image = container.ImageRef{Name: imageName(img, spec.Image), ID: img.ID.String(), Digest: img.Manifest.Digest.String()}
	r.Rootfs.Lower = img.LowerDirs()
	return &img.Config.Config, nil
}

// foreign says that an image is for other machines than this one.
func foreign(name string, img *image.Image) string {
	p := img.Config.Platform
	if p.Architecture == "" || p.Architecture == runtime.GOARCH {
		return ""
	}
	return fmt.Sprintf("image %s is for %s/%s, and this machine is linux/%s", name, p.OS, p.Architecture, runtime.GOARCH)
}

// resolveRun fills in what the spec leaves to the image and to berth.conf.
func resolveRun(h *Host, spec *container.Spec, r *container.Record, image *ispec.ImageConfig) (err error) {
	if r.Command, err = bundle.Command(spec, image); err != nil {
		return err
	}
	if r.Runtime, err = findRuntime(h, spec.Runtime); err != nil {
		return err
	}
	if r.AppArmor, err = bundle.AppArmor(spec); err != nil {
		return err
	}
	if err := checkAppArmor(r); err != nil {
		return err
	}
	stop := spec.StopSignal
	if stop == "" {
		stop = image.StopSignal
	}
	if stop == "" {
		stop = "SIGTERM"
	}
	sig, err := ParseSignal(stop)
	if err != nil {
		return fmt.Errorf("stop-signal: %w", err)
	}
	r.StopSignal = int(sig)
	r.StopTimeout = h.Config.StopTimeout
	if spec.StopTimeout != nil {
		r.StopTimeout = *spec.StopTimeout
	}
	r.Log = spec.Log
	if r.Log.Driver == "" {
		r.Log.Driver = h.Config.LogDriver
	}
	if err := checkLog(r.Log); err != nil {
		return err
	}
	if spec.Resources.PidsLimit == nil && h.Config.PidsLimit > 0 {
		spec.Resources.PidsLimit = &h.Config.PidsLimit
	}
	if spec.ShmSize == 0 {
		spec.ShmSize = h.Config.ShmSize
	}
	if err := checkRestart(spec); err != nil {
		return err
	}
	r.Labels = map[string]string{}
	for k, v := range image.Labels {
		r.Labels[k] = v
	}
	for k, v := range spec.Labels {
		r.Labels[k] = v
	}
	return nil
}

func checkLog(log container.LogConfig) error {
	switch log.Driver {
	case "journald", "k8s-file", "none":
		return nil
	}
	return fmt.Errorf("log-driver %q: must be journald, k8s-file or none", log.Driver)
}

func checkRestart(spec *container.Spec) error {
	switch spec.Restart.Name {
	case "", "no", "on-failure", "always", "unless-stopped":
	default:
		return fmt.Errorf("restart %q: must be no, on-failure[:N], always or unless-stopped", spec.Restart.Name)
	}
	if spec.AutoRemove && spec.Restart.Name != "" && spec.Restart.Name != "no" {
		return fmt.Errorf("restart %q: cannot be had together with --rm", spec.Restart.Name)
	}
	return nil
}

// findRuntime resolves a name of berth.conf, a command or an absolute path.
func findRuntime(h *Host, name string) (container.Runtime, error) {
	if name == "" {
		name = h.Config.Runtime
	}
	path := name
	if p, ok := h.Config.Runtimes[name]; ok {
		path = p
	} else if !filepath.IsAbs(name) {
		return container.Runtime{}, fmt.Errorf("runtime %q: unknown: give the path of an OCI runtime, or name it in berth.conf under [Runtimes]", name)
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return container.Runtime{}, fmt.Errorf("runtime %q: %s: %w: install it, or choose another one with --runtime", name, path, unwrapExec(err))
	}
	return container.Runtime{Name: name, Path: found}, nil
}

// unitRules says whether a runtime leaves devices alone when it is told nothing
// of them. runc, and who knows who else, then has rules of its own, narrower
// than the unit's. To load rules again costs a start a BPF program, and crun 1.8
// a limit that not every root may raise.
func unitRules(r container.Runtime) bool {
	switch filepath.Base(r.Path) {
	case "berth-runtime", "crun":
		return true
	}
	return false
}

func unwrapExec(err error) error {
	var ee *exec.Error
	if errors.As(err, &ee) {
		return ee.Err
	}
	return err
}

// joinPaths finds the namespaces of other containers that spec shares.
func joinPaths(h *Host, spec *container.Spec) (map[specs.LinuxNamespaceType]string, error) {
	join := map[specs.LinuxNamespaceType]string{}
	for _, ns := range []struct {
		kind       specs.LinuxNamespaceType
		mode, file string
	}{
		{specs.NetworkNamespace, spec.Network, "net"},
		{specs.PIDNamespace, spec.PID, "pid"},
		{specs.IPCNamespace, spec.IPC, "ipc"},
		{specs.UTSNamespace, spec.UTS, "uts"},
	} {
		name, ok := strings.CutPrefix(ns.mode, "container:")
		if !ok {
			continue
		}
		other, err := h.Containers.Load(name)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", ns.kind, ns.mode, err)
		}
		s, err := h.Containers.Started(other.ID)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", ns.kind, ns.mode, err)
		}
		if s == nil {
			return nil, fmt.Errorf("%s %s: %w", ns.kind, ns.mode, ErrNotRunning)
		}
		join[ns.kind] = fmt.Sprintf("/proc/%d/ns/%s", s.Pid, ns.file)
	}
	return join, nil
}

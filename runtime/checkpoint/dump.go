package checkpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/berthrun/berth/runtime"
)

// descriptorsFile is where an image keeps what the init's standard descriptors were.
const descriptorsFile = "descriptors.json"

// Checkpoint writes the container's image. Afterwards the container is gone,
// unless it was to be left running or this was a pre-dump.
func Checkpoint(ctx context.Context, c *runtime.Container, o *Options) error {
	if err := dump(c, o); err != nil {
		return fmt.Errorf("checkpoint %s: %w", c.ID(), err)
	}
	if o.LeaveRunning || o.PreDump {
		return nil
	}
	return c.Delete(ctx, true)
}

func dump(c *runtime.Container, o *Options) error {
	release, err := c.Hold()
	if err != nil {
		return err
	}
	defer release()
	if status := c.Status(); status != specs.StateRunning {
		return fmt.Errorf("container is %s: %w", status, runtime.ErrState)
	}
	spec, err := c.Spec()
	if err != nil {
		return err
	}
	opts, err := o.request()
	if err != nil {
		return err
	}
	p, err := newPeer()
	if err != nil {
		return err
	}
	defer p.close()
	kind := rpc.CriuReqType_DUMP
	if o.PreDump {
		kind = rpc.CriuReqType_PRE_DUMP
		opts.TrackMem = new(true)
	}
	if err := p.directories(o, opts, "dump.log", len(spec.Linux.UIDMappings) > 0); err != nil {
		return err
	}
	if opts.ParentImg, err = parent(o.ParentPath); err != nil {
		return err
	}
	if opts.ParentImg != nil {
		opts.TrackMem = new(true)
	}
	if opts.Ps, err = pageServer(o.PageServer); err != nil {
		return err
	}
	if o.LazyPages && o.Status != nil {
		opts.StatusFd = new(int32(o.Status.Fd())) // ours, as the directories are
	}
	opts.Pid = new(int32(c.Pid()))
	opts.Root = new("/proc/" + strconv.Itoa(c.Pid()) + "/root")
	list := mounts(spec)
	presentMasks(list, spec, c.Pid())
	opts.External = external(list, false)
	ns, err := namespaces(spec)
	if err != nil {
		return err
	}
	opts.External = append(opts.External, ns...)
	if !o.PreDump {
		if err := noteDescriptors(c.Pid(), o.ImagePath); err != nil {
			return err
		}
	}
	if err := p.start(-1); err != nil {
		return err
	}
	return p.request(kind, opts, func(_ *rpc.CriuNotify, f *os.File) error {
		closeFile(f)
		return nil
	})
}

// noteDescriptors writes what the init's standard descriptors are.
func noteDescriptors(pid int, image string) error {
	var list [3]string
	for i := range list {
		link, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/" + strconv.Itoa(i))
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		list[i] = link
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(image, descriptorsFile), b, 0o600)
}

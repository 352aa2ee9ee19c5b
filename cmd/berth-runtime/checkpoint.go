//go:build !lean

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berthrun/berth/runtime"
	"github.com/berthrun/berth/runtime/checkpoint"
)

// criuFlags are the flags that checkpoint and restore share.
func criuFlags(f *flagSet) *checkpoint.Options {
	o := new(checkpoint.Options)
	f.str(&o.ImagePath, "image-path")
	f.str(&o.WorkPath, "work-path")
	f.flag(&o.TCPEstablished, "tcp-established")
	f.flag(&o.ExtUnixSk, "ext-unix-sk")
	f.flag(&o.ShellJob, "shell-job")
	f.flag(&o.LazyPages, "lazy-pages")
	f.flag(&o.FileLocks, "file-locks")
	f.str(&o.ManageCgroups, "manage-cgroups-mode")
	f.list(&o.EmptyNS, "empty-ns")
	f.flag(&o.AutoDedup, "auto-dedup")
	f.flag(&o.LinkRemap, "link-remap")
	return o
}

// setImagePath gives the image the place that it has without a flag, and makes
// paths absolute, since criu works elsewhere.
func setImagePath(o *checkpoint.Options) (err error) {
	if o.ImagePath == "" {
		o.ImagePath = "checkpoint"
	}
	if o.ImagePath, err = filepath.Abs(o.ImagePath); err != nil || o.WorkPath == "" {
		return err
	}
	o.WorkPath, err = filepath.Abs(o.WorkPath)
	return err
}

func checkpointContainer(ctx context.Context, g *global, args []string) error {
	f := newFlags()
	o := criuFlags(f)
	f.str(&o.ParentPath, "parent-path")
	f.flag(&o.LeaveRunning, "leave-running")
	f.flag(&o.TCPSkipInFlight, "tcp-skip-in-flight")
	f.str(&o.PageServer, "page-server")
	f.flag(&o.PreDump, "pre-dump")
	status := -1
	f.fn(number(&status), "status-fd")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	if err := setImagePath(o); err != nil {
		return err
	}
	if status >= 0 {
		if o.Status = os.NewFile(uintptr(status), "status"); o.Status == nil {
			return fmt.Errorf("status descriptor %d: not open", status)
		}
	}
	if o.PreDump && o.LazyPages {
		return fmt.Errorf("--pre-dump and --lazy-pages: one of them")
	}
	c, err := runtime.Open(g.root, id)
	if err != nil {
		return err
	}
	return checkpoint.Checkpoint(ctx, c, o)
}

func restoreContainer(ctx context.Context, g *global, args []string) error {
	f := newFlags()
	o := criuFlags(f)
	opt := new(runtime.CreateOptions)
	bundle, detach := ".", false
	f.str(&bundle, "bundle", "b")
	f.flag(&detach, "detach", "d")
	f.str(&opt.PidFile, "pid-file")
	f.str(&opt.ConsoleSocket, "console-socket")
	f.flag(new(bool), "no-subreaper")
	f.flag(new(bool), "no-pivot") // criu has a way of its own
	f.str(&o.LSMProfile, "lsm-profile")
	f.str(&o.LSMMountContext, "lsm-mount-context")
	rootFD := -1
	f.fn(number(&rootFD), "root-fd")
	f.flag(&opt.Delegated, "delegated") // as of create
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	if err := setImagePath(o); err != nil {
		return err
	}
	if o.LSMProfile != "" && !strings.Contains(o.LSMProfile, ":") {
		return fmt.Errorf("lsm profile %q: want TYPE:NAME", o.LSMProfile)
	}
	if rootFD >= 0 {
		opt.Root = os.NewFile(uintptr(rootFD), "root")
	}
	opt.Detach = detach
	if g.systemd {
		if err := placeBySystemd(opt); err != nil {
			return err
		}
	}
	c, child, err := checkpoint.Restore(ctx, g.root, id, bundle, opt, o)
	if err != nil || detach {
		return err
	}
	status, err := attend(child)
	if e := c.Delete(ctx, true); e != nil && err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return exitStatus(status)
}

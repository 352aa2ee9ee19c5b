package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
	"github.com/berthrun/berth/image/progress"
)

func pullVerb() *verb {
	return &verb{
		top: "pull", image: "pull", group: "Images",
		args: "IMAGE...", min: 1, max: -1,
		short: "Fetch images from their registries",
		long: `
Prints the ID of each. Credentials are those that podman login or docker login
stored, or --creds. HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.`,
		examples: `
berth pull debian:13
berth pull --platform linux/arm64 nginx@sha256:…
berth pull --tls-verify=false registry.lan:5000/app`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				str("authfile", "credentials are in this file", "FILE"),
				str("creds", "credentials for the registry", "USER[:PASSWORD]"),
				str("platform", "the image for this platform", "OS/ARCH"),
				str("policy", "fetch always (default), newer, missing or never", "WHEN"),
				boolean("quiet q", "no word about the progress"),
				booleanOn("tls-verify", "insist on HTTPS and a valid certificate"),
			}
		},
		later: "all-tags a arch os variant cert-dir disable-content-trust retry retry-delay decryption-key",
		whole: true,
		run:   runPull,
	}
}

func runPull(c *call) error {
	v := &values{Context: c.flags, env: osEnvironment()}
	o := engine.PullOptions{Policy: one(v, "policy", parsePull)}
	o.Platform = one(v, "platform", parsePlatform)
	o.Credentials = one(v, "creds", parseCreds)
	o.AuthFile = c.flags.String("authfile")
	if v.err != nil {
		return &usageError{err: v.err}
	}
	h, err := c.open()
	if err != nil {
		return err
	}
	var errs failures
	for _, name := range c.args {
		o := o
		if !c.flags.Bool("tls-verify") {
			if ref, err := image.ParseReference(name); err == nil {
				o.Insecure = []string{ref.Domain}
			}
		}
		done := c.progress(&o, c.flags.Bool("quiet"))
		img, err := engine.Pull(c.ctx, h, name, &o)
		done()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.println(img.ID.Encoded())
	}
	return errs.err()
}

func parseCreds(s string) (*image.Credentials, error) {
	user, password, found := strings.Cut(s, ":")
	if user == "" {
		return nil, errors.New("USER:PASSWORD")
	}
	if !found {
		return nil, errors.New("USER:PASSWORD: asking for a password is not supported yet")
	}
	return &image.Credentials{Username: user, Password: password}, nil
}

func loadVerb() *verb {
	return &verb{
		top: "load", image: "load", group: "Images",
		short: "Load images from an archive",
		long: `
Reads what docker save, podman save and berth save write, compressed or not, from
--input or standard input, and prints the names of the images in it.`,
		examples: `
berth load -i nginx.tar
zcat images.tar.gz | berth load`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				str("input i", "read this file instead of standard input", "FILE"),
				str("platform", "the image for this platform", "OS/ARCH"),
				boolean("quiet q", "no word about the progress"),
			}
		},
		whole: true,
		run:   runLoad,
	}
}

func runLoad(c *call) error {
	store, err := c.images()
	if err != nil {
		return err
	}
	o := engine.PullOptions{}
	done := c.progress(&o, c.flags.Bool("quiet"))
	opts := &image.LoadOptions{Platform: c.flags.String("platform"), Progress: o.Progress}
	var list []*image.Image
	if path := c.flags.String("input"); path != "" && path != "-" {
		list, err = store.Load(c.ctx, path, opts)
	} else {
		if isTerminal(c.std.in) {
			return usagef("standard input is a terminal: give an archive by --input or a pipe")
		}
		list, err = store.LoadFrom(c.ctx, c.std.in, opts)
	}
	done()
	if err != nil {
		return err
	}
	for _, img := range list {
		if len(img.Names) == 0 {
			c.println("Loaded image: " + img.ID.String())
		}
		for _, n := range img.Names {
			c.println("Loaded image: " + n)
		}
	}
	return nil
}

func saveVerb() *verb {
	return &verb{
		top: "save", image: "save", group: "Images",
		args: "IMAGE...", min: 1, max: -1,
		short: "Write images into an archive",
		long: `
docker load, podman load and berth load read it.`,
		examples: `
berth save -o nginx.tar nginx
berth save --format oci-archive app:1 app:2 | zstd > app.tar.zst`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				str("format", "docker-archive (default) or oci-archive", "FORMAT"),
				str("output o", "write this file instead of standard output", "FILE"),
				accepted(boolean("multi-image-archive m", "several images are always possible")),
				accepted(boolean("quiet q", "")),
			}
		},
		later: "compress uncompressed",
		whole: true,
		run:   runSave,
	}
}

func runSave(c *call) (err error) {
	v := &values{Context: c.flags}
	format := one(v, "format", parseChoice(image.DockerArchive, image.OCIArchive))
	if v.err != nil {
		return &usageError{err: v.err}
	}
	store, err := c.images()
	if err != nil {
		return err
	}
	path := c.flags.String("output")
	if path == "" || path == "-" {
		if isTerminal(c.std.out) {
			return usagef("standard output is a terminal: give a file by --output, or redirect it")
		}
		return store.Save(c.ctx, c.std.out, c.args, format)
	}
	f, err := os.CreateTemp(dirOf(path), ".berth-save-*")
	if err != nil {
		return fmt.Errorf("--output %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = store.Save(c.ctx, f, c.args, format)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = joinClose(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func tagVerb() *verb {
	return &verb{
		top: "tag", image: "tag", group: "Images",
		args: "IMAGE NAME...", min: 2, max: -1,
		short:    "Give an image another name",
		examples: `berth tag nginx registry.lan:5000/nginx:stable`,
		run: func(c *call) error {
			store, err := c.images()
			if err != nil {
				return err
			}
			for _, name := range c.args[1:] {
				if err := store.Tag(c.args[0], name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func rmiVerb() *verb {
	return &verb{
		top: "rmi", image: "rm", group: "Images",
		args: "IMAGE...", max: -1,
		short: "Remove images",
		long: `
Takes a name from an image, and with its last name the image. Ends with 1 where an
image is not there, and with 2 where a container was made from it.`,
		examples: `
berth rmi nginx:1.26
berth rmi --all`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				boolean("all a", "every image"),
				boolean("force f", "remove the containers made from it first, stopping them"),
				ignoreFlag(),
				accepted(boolean("no-prune", "")),
			}
		},
		run: runRmi,
	}
}

func runRmi(c *call) error {
	force := c.flags.Bool("force")
	names := c.args
	switch {
	case c.flags.Bool("all") && len(names) > 0:
		return usagef("names exclude --all")
	case c.flags.Bool("all"):
		store, err := c.images()
		if err != nil {
			return err
		}
		list, err := store.List()
		if err != nil && len(list) == 0 {
			return err
		}
		for _, img := range list {
			names = append(names, append(img.Names, img.ID.String())...)
		}
	case len(names) == 0:
		return usagef("IMAGE is missing: want %s", c.verb.args)
	}
	h, err := c.open()
	if err != nil {
		return err
	}
	var errs failures
	for _, name := range names {
		removed, err := engine.RemoveImage(c.ctx, h, name, force)
		for _, r := range removed {
			if r.Untagged != "" {
				c.println("Untagged: " + r.Untagged)
			}
			if r.Deleted != "" {
				c.println("Deleted: " + r.Deleted.Encoded())
			}
		}
		switch {
		case errors.Is(err, image.ErrNotExist):
			if c.flags.Bool("all") || c.flags.Bool("ignore") || force {
				continue // gone with its last name
			}
			err = &codedError{1, err}
		case errors.Is(err, image.ErrInUse):
			err = &codedError{2, err}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs.err()
}

// progress has the pull that o describes tell how far it is, on standard error.
// done ends that.
func (c *call) progress(o *engine.PullOptions, quiet bool) (done func()) {
	// Layers are unpacked side by side: what main said of threads is over.
	begin := sync.OnceFunc(runtime.SetDefaultGOMAXPROCS)
	if quiet {
		o.Progress = func(image.Event) { begin() }
		return func() {}
	}
	w := c.std.err
	opts := progress.Options{Terminal: isTerminal(w)}
	if opts.Terminal {
		cols, rows := size(w)
		opts.Width, opts.Height = int(cols), int(rows)
	}
	r := progress.New(w, opts)
	o.Progress = func(e image.Event) {
		begin()
		r.Event(e)
	}
	return r.Close
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	} else if i == 0 {
		return "/"
	}
	return "."
}

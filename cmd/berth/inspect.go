package main

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
)

func inspectFlags(kinds bool) func() []cli.Flag {
	return func() []cli.Flag {
		flags := []cli.Flag{formatFlag(), accepted(boolean("size s", ""))}
		if kinds {
			flags = append(flags, latestFlag(), str("type", "look for a container or an image only", "TYPE"))
		}
		return flags
	}
}

func inspectVerb() *verb {
	return &verb{
		top: "inspect", group: "Containers",
		args: "CONTAINER|IMAGE...", max: -1,
		short: "Show everything about containers or images",
		long: `
Prints a JSON array, or a line each by --format. The fields are Docker's; functions
in a template: json, join, split, lower, upper, title, pad, truncate, println.`,
		examples: `
berth inspect web
berth inspect --format '{{.State.Status}} {{.State.Pid}}' web
berth inspect -f '{{json .Config.Env}}' --type image nginx`,
		flags: inspectFlags(true),
		run: func(c *call) error {
			kind := c.flags.String("type")
			switch kind {
			case "", "all", "container", "image":
			default:
				return &usageError{err: badValue("type", kind, "container or image")}
			}
			return c.inspect(kind)
		},
	}
}

func containerInspectVerb() *verb {
	return &verb{
		container: "inspect", args: "CONTAINER...", max: -1,
		short: "Show everything about containers",
		flags: func() []cli.Flag { return append(inspectFlags(false)(), latestFlag()) },
		run:   func(c *call) error { return c.inspect("container") },
	}
}

func imageInspectVerb() *verb {
	return &verb{
		image: "inspect", args: "IMAGE...", min: 1, max: -1,
		short: "Show everything about images",
		flags: inspectFlags(false),
		run:   func(c *call) error { return c.inspect("image") },
	}
}

func (c *call) inspect(kind string) error {
	names := c.args
	if kind != "image" {
		var err error
		if names, err = c.containers(); err != nil {
			return err
		}
	}
	objects := []any{}
	var errs failures
	for _, name := range names {
		o, err := c.object(kind, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		objects = append(objects, o)
	}
	return joinClose(c.printObjects(objects), errs.err())
}

func (c *call) printObjects(objects []any) error {
	format := c.flags.String("format")
	if format == "" || format == "json" {
		return printJSON(c.out, objects)
	}
	for _, o := range objects {
		if err := printObject(c.out, format, o); err != nil {
			return err
		}
	}
	return nil
}

// object is a container, or else an image.
func (c *call) object(kind, name string) (any, error) {
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	var notContainer error
	if kind != "image" {
		d, err := engine.Inspect(c.ctx, h, name)
		if err == nil {
			return d, nil
		}
		if kind == "container" || !errors.Is(err, container.ErrNotExist) {
			return nil, err
		}
		notContainer = err
	}
	store, err := h.Images()
	if err != nil {
		return nil, err
	}
	img, err := store.Resolve(name)
	switch {
	case err == nil:
		return imageDetails(img), nil
	case notContainer != nil && (errors.Is(err, image.ErrNotExist) || errors.Is(err, image.ErrBadReference)):
		return nil, &noObjectError{name}
	}
	return nil, err
}

// noObjectError is a name that is neither a container nor an image.
type noObjectError struct{ name string }

func (e *noObjectError) Error() string {
	return "inspect " + e.name + ": no such container or image"
}

// imageObject is what inspect shows of an image, by Docker's names.
type imageObject struct {
	ID           string `json:"Id"`
	Digest       string
	RepoTags     []string
	RepoDigests  []string
	Created      time.Time
	Author       string
	Architecture string
	Os           string
	Variant      string `json:",omitempty"`
	Size         int64
	VirtualSize  int64
	Config       any
	Labels       map[string]string
	RootFS       imageRootFS
	History      any
	ManifestType string
	User         string
}

type imageRootFS struct {
	Type   string
	Layers []string
}

func imageDetails(img *image.Image) *imageObject {
	img.Measure()
	cfg := &img.Config
	o := &imageObject{
		ID: img.ID.String(), Digest: img.Manifest.Digest.String(), RepoTags: orEmpty(img.Names), RepoDigests: orEmpty(img.RepoDigests),
		Created: img.Created, Author: cfg.Author, Architecture: cfg.Architecture, Os: cfg.OS, Variant: cfg.Variant,
		Size: img.DiskSize, VirtualSize: img.DiskSize, Config: cfg.Config, Labels: cfg.Config.Labels,
		RootFS: imageRootFS{Type: "layers"}, History: cfg.History, ManifestType: img.Manifest.MediaType, User: cfg.Config.User,
	}
	for _, l := range img.Layers {
		o.RootFS.Layers = append(o.RootFS.Layers, l.DiffID.String())
	}
	return o
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

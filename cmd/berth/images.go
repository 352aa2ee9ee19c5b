package main

import (
	"encoding/json"
	"errors"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
)

// images opens the image store.
func (c *call) images() (*image.Store, error) {
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	return h.Images()
}

func imagesVerb() *verb {
	return &verb{
		top: "images", image: "ls list", group: "Images",
		args: "[IMAGE]", max: 1,
		short: "List images",
		long: `
Filters: reference, id, digest, label, dangling, before, since, until. Fields of
--format: .Repository .Tag .ID .Id .Digest .Created .CreatedSince .CreatedAt .Size
.VirtualSize .Labels .Names .RepoTags .RepoDigests .Containers .Dangling.`,
		examples: `
berth images
berth images -q --filter dangling=true
berth images --format '{{.Repository}}:{{.Tag}} {{.Size}}'`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				accepted(boolean("all a", "")),
				boolean("digests", "show digests"),
				strs("filter f", "only what matches, e.g. dangling=true; may be repeated", "KEY=VALUE"),
				str("format", "print by a Go template, \"table TEMPLATE\" or \"json\"", "TEMPLATE"),
				boolean("no-trunc", "do not shorten IDs"),
				boolean("noheading n", "no headings"),
				boolean("quiet q", "IDs only"),
				str("sort", "by created (default), id, repository, size or tag", "FIELD"),
			}
		},
		later: "history",
		run:   runImages,
	}
}

func runImages(c *call) error {
	store, err := c.images()
	if err != nil {
		return err
	}
	order, err := imageOrder(c.flags.String("sort"))
	if err != nil {
		return err
	}
	filters := c.flags.StringSlice("filter")
	if len(c.args) > 0 {
		filters = append(filters, "reference="+c.args[0])
	}
	list, damaged := store.List()
	rows := imageRows(c, list)
	for _, f := range filters {
		keep, err := imageFilter(store, f)
		if err != nil {
			return usagef("--filter %q: %w", f, err)
		}
		rows = slices.DeleteFunc(rows, func(r imageRow) bool { return !keep(r) })
	}
	sort.SliceStable(rows, func(i, j int) bool { return order(rows[i], rows[j]) })
	return joinClose(c.printImages(rows), apart(damaged))
}

// imageRows is a row for every name, or one for an image without.
func imageRows(c *call, list []*image.Image) []imageRow {
	now := time.Now()
	var rows []imageRow
	for _, img := range list {
		names := img.Names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, n := range names {
			r := imageRow{img: img, now: now, trunc: !c.flags.Bool("no-trunc"), host: c.host}
			r.repository, r.tag = splitName(n)
			rows = append(rows, r)
		}
	}
	return rows
}

func splitName(name string) (repository, tag string) {
	ref, err := image.ParseReference(name)
	if name == "" || err != nil {
		return "<none>", "<none>"
	}
	if ref.Tag == "" {
		return ref.Name(), "<none>"
	}
	return ref.Name(), ref.Tag
}

func imageOrder(field string) (func(a, b imageRow) bool, error) {
	switch field {
	case "", "created":
		return func(a, b imageRow) bool { return false }, nil // as the store has them
	case "id":
		return func(a, b imageRow) bool { return a.Id() < b.Id() }, nil
	case "repository":
		return func(a, b imageRow) bool { return a.repository < b.repository }, nil
	case "size":
		return func(a, b imageRow) bool { return a.img.DiskSize < b.img.DiskSize }, nil
	case "tag":
		return func(a, b imageRow) bool { return a.tag < b.tag }, nil
	}
	return nil, &usageError{err: badValue("sort", field, "created, id, repository, size or tag")}
}

// imageFilter reads one --filter of images.
func imageFilter(store *image.Store, s string) (func(imageRow) bool, error) {
	key, value, found := strings.Cut(s, "=")
	if !found {
		return nil, errors.New("want KEY=VALUE")
	}
	key, not := strings.CutSuffix(key, "!")
	keep, err := imageFilterBy(store, key, value)
	if err != nil || !not {
		return keep, err
	}
	return func(r imageRow) bool { return !keep(r) }, nil
}

func imageFilterBy(store *image.Store, key, value string) (func(imageRow) bool, error) {
	switch key {
	case "reference":
		return referenceFilter(value), nil
	case "id":
		return func(r imageRow) bool { return strings.HasPrefix(r.Id(), strings.TrimPrefix(value, "sha256:")) }, nil
	case "digest":
		return func(r imageRow) bool { return r.Digest() == value }, nil
	case "label":
		k, v, exact := strings.Cut(value, "=")
		return func(r imageRow) bool {
			got, ok := r.img.Config.Config.Labels[k]
			return ok && (!exact || got == v)
		}, nil
	case "dangling":
		want, err := strconv.ParseBool(value)
		if err != nil {
			return nil, errors.New("want true or false")
		}
		return func(r imageRow) bool { return r.Dangling() == want }, nil
	case "before", "since", "after":
		other, err := store.Resolve(value)
		if err != nil {
			return nil, err
		}
		if key == "before" {
			return func(r imageRow) bool { return r.img.Created.Before(other.Created) }, nil
		}
		return func(r imageRow) bool { return r.img.Created.After(other.Created) }, nil
	case "until":
		t, err := parseTime(value, time.Now())
		if err != nil {
			return nil, err
		}
		return func(r imageRow) bool { return r.img.Created.Before(t) }, nil
	}
	return nil, errors.New("want one of reference, id, digest, label, dangling, before, since, until")
}

// referenceFilter matches a name with or without its registry, its tag, or the
// first parts of its repository; * stands for anything but a slash.
func referenceFilter(pattern string) func(imageRow) bool {
	return func(r imageRow) bool {
		if r.Dangling() {
			return false
		}
		for full := r.repository; ; {
			for _, candidate := range []string{full, full + ":" + r.tag} {
				if ok, _ := path.Match(pattern, candidate); ok || candidate == pattern {
					return true
				}
			}
			_, rest, more := strings.Cut(full, "/")
			if !more {
				return false
			}
			full = rest
		}
	}
}

func (c *call) printImages(rows []imageRow) error {
	switch format := c.flags.String("format"); {
	case format == "json":
		return printJSON(c.out, imagesJSON(rows))
	case c.flags.Bool("quiet") && format == "":
		seen := map[string]bool{}
		for _, r := range rows {
			if !seen[r.Id()] {
				seen[r.Id()] = true
				c.println(r.ID())
			}
		}
		return nil
	case format != "" && format != "table":
		return printRows(c, format, imageHeadings, rows)
	}
	digests := c.flags.Bool("digests")
	row := func(repository, tag, digest, id, created, size string) []string {
		if digests {
			return []string{repository, tag, digest, id, created, size}
		}
		return []string{repository, tag, id, created, size}
	}
	table := make([][]string, 0, len(rows)+1)
	if !c.flags.Bool("noheading") {
		table = append(table, row("REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"))
	}
	for _, r := range rows {
		id := r.ID()
		if !r.trunc {
			id = "sha256:" + r.Id()
		}
		table = append(table, row(r.repository, r.tag, r.Digest(), id, r.Created(), r.Size()))
	}
	writeTable(c.out, table)
	return nil
}

var imageHeadings = headings{"ID": "IMAGE ID", "Id": "IMAGE ID", "CreatedSince": "CREATED", "CreatedTime": "CREATED AT"}

// imageRow is an image by one of its names. Its methods are the fields of a
// template.
type imageRow struct {
	img             *image.Image
	host            *engine.Host
	repository, tag string
	now             time.Time
	trunc           bool
}

// Repository is the name without tag.
func (r imageRow) Repository() string { return r.repository }

// Tag is the tag.
func (r imageRow) Tag() string { return r.tag }

// ID is the image's ID, shortened.
func (r imageRow) ID() string {
	if r.trunc {
		return shortID(r.Id())
	}
	return r.Id()
}

// Id is the image's full ID.
func (r imageRow) Id() string { return r.img.ID.Encoded() }

// Digest is that of its manifest.
func (r imageRow) Digest() string { return r.img.Manifest.Digest.String() }

// Created is how long ago it was built.
func (r imageRow) Created() string { return ago(r.now, r.img.Created) }

// CreatedSince is the same.
func (r imageRow) CreatedSince() string { return r.Created() }

// CreatedAt is when it was built.
func (r imageRow) CreatedAt() string { return timeText(r.img.Created) }

// CreatedTime is the same.
func (r imageRow) CreatedTime() string { return r.CreatedAt() }

// Size is what its files take, unpacked.
func (r imageRow) Size() string { return humanSize(r.img.DiskSize) }

// VirtualSize is the same in bytes.
func (r imageRow) VirtualSize() int64 { return r.img.DiskSize }

// Labels are its labels.
func (r imageRow) Labels() map[string]string { return r.img.Config.Config.Labels }

// Label is one of them.
func (r imageRow) Label(key string) string { return r.img.Config.Config.Labels[key] }

// Names are all its names.
func (r imageRow) Names() []string { return r.img.Names }

// RepoTags are the same.
func (r imageRow) RepoTags() []string { return r.img.Names }

// RepoDigests are the digests it was pulled as.
func (r imageRow) RepoDigests() []string { return r.img.RepoDigests }

// Dangling says whether it has no name.
func (r imageRow) Dangling() bool { return r.repository == "<none>" }

// IsDangling is the same.
func (r imageRow) IsDangling() bool { return r.Dangling() }

// Containers is how many containers were made from it.
func (r imageRow) Containers() (int, error) {
	users, err := r.host.Containers.ImageUsers(r.img.ID.String())
	return len(users), err
}

// ReadOnly is Podman's; no image here is in another store.
func (r imageRow) ReadOnly() bool { return false }

// imageJSON is an image in images --format json, by Podman's names.
type imageJSON struct {
	ID          string `json:"Id"`
	RepoTags    []string
	RepoDigests []string
	Names       []string
	Digest      string
	Created     int64
	CreatedAt   time.Time
	Size        int64
	VirtualSize int64
	Labels      map[string]string
	Dangling    bool
}

// imagesJSON is one object for each image, whatever its names.
func imagesJSON(rows []imageRow) []imageJSON {
	list := []imageJSON{}
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.Id()] {
			continue
		}
		seen[r.Id()] = true
		list = append(list, r.json())
	}
	return list
}

func (r imageRow) json() imageJSON {
	return imageJSON{
		ID: r.Id(), RepoTags: orEmpty(r.img.Names), RepoDigests: orEmpty(r.img.RepoDigests), Names: orEmpty(r.img.Names), Digest: r.Digest(),
		Created: r.img.Created.Unix(), CreatedAt: r.img.Created, Size: r.img.DiskSize, VirtualSize: r.img.DiskSize,
		Labels: r.Labels(), Dangling: r.Dangling(),
	}
}

// MarshalJSON is what {{json .}} shows.
func (r imageRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.json()) }

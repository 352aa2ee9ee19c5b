package main

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

func psVerb() *verb {
	return &verb{
		top: "ps", container: "ls ps list", group: "Containers",
		short: "List containers",
		long: `
Those that run; with --all, --last or a filter by status others too.

Filters: id, name, label, status, exited, ancestor, before, since, until, volume,
network, restart-policy. Fields of --format: .ID .Names .Image .ImageID .Command
.Status .State .CreatedAt .RunningFor .StartedAt .ExitCode .Pid .Ports .Labels
.Label "KEY" .Mounts .Networks .Restarts .Unit.`,
		examples: `
berth ps -a
berth ps -q --filter label=tier=front
berth ps --format 'table {{.Names}}\t{{.Status}}\t{{.Unit}}'`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				boolean("all a", "those that do not run too"),
				strs("filter f", "only what matches, e.g. status=exited; may be repeated", "KEY=VALUE"),
				str("format", "print by a Go template, \"table TEMPLATE\" or \"json\"", "TEMPLATE"),
				str("last n", "the last N that were made, whether they run or not", "N"),
				boolean("latest l", "the last one that was made"),
				boolean("no-trunc", "do not shorten IDs and commands"),
				boolean("noheading", "no headings"),
				boolean("quiet q", "IDs only"),
				str("sort", "by command, created (default), id, image, names, runningfor or status", "FIELD"),
				accepted(boolean("external", "")),
				accepted(boolean("sync", "")),
			}
		},
		later: "size s pod p namespace ns watch w",
		run:   runPs,
	}
}

func runPs(c *call) error {
	last, err := c.psLast()
	if err != nil {
		return err
	}
	order, err := psOrder(c.flags.String("sort"))
	if err != nil {
		return err
	}
	h, err := c.open()
	if err != nil {
		return err
	}
	filters, err := engine.ParseFilters(h, c.flags.StringSlice("filter"))
	if err != nil {
		return usagef("%w", err)
	}
	list, damaged := engine.List(c.ctx, h)
	if damaged != nil && len(list) == 0 {
		return apart(damaged)
	}
	list = slices.DeleteFunc(list, func(s engine.Summary) bool { return !filters.Match(&s) })
	slices.Reverse(list) // the newest first
	if last >= 0 {
		list = list[:min(last, len(list))]
	} else if !c.flags.Bool("all") && !filters.StatusAsked() {
		list = slices.DeleteFunc(list, func(s engine.Summary) bool { return !running(&s) })
	}
	rows := make([]psRow, len(list))
	now := time.Now()
	for i := range list {
		rows[i] = psRow{&list[i], now, !c.flags.Bool("no-trunc")}
	}
	sort.SliceStable(rows, func(i, j int) bool { return order(rows[i], rows[j]) })
	return joinClose(c.printPs(rows), apart(damaged))
}

// psLast is how many of the last containers are asked for, -1 for no such limit.
func (c *call) psLast() (int, error) {
	if c.flags.Bool("latest") {
		return 1, nil
	}
	if !c.flags.IsSet("last") {
		return -1, nil
	}
	n, err := parseInt(-1, 1<<30, "a number")(c.flags.String("last"))
	if err != nil {
		return 0, &usageError{err: badValue("last", c.flags.String("last"), "a number")}
	}
	return int(n), nil
}

func psOrder(field string) (func(a, b psRow) bool, error) {
	by := func(key func(psRow) string) (func(a, b psRow) bool, error) {
		return func(a, b psRow) bool { return key(a) < key(b) }, nil
	}
	switch field {
	case "", "created":
		return func(a, b psRow) bool { return false }, nil
	case "command":
		return by(psRow.Command)
	case "id":
		return by(psRow.ID)
	case "image":
		return by(psRow.Image)
	case "names":
		return by(psRow.Names)
	case "status":
		return by(psRow.Status)
	case "runningfor":
		return func(a, b psRow) bool { return a.StartedAt() < b.StartedAt() }, nil
	}
	return nil, &usageError{err: badValue("sort", field, "command, created, id, image, names, runningfor or status")}
}

func (c *call) printPs(rows []psRow) error {
	switch format := c.flags.String("format"); {
	case format == "json":
		list := make([]psJSON, len(rows))
		for i, r := range rows {
			list[i] = r.json()
		}
		return printJSON(c.out, list)
	case c.flags.Bool("quiet") && format == "":
		for _, r := range rows {
			c.println(r.ID())
		}
		return nil
	case format != "" && format != "table":
		return printRows(c, format, psHeadings, rows)
	}
	table := make([][]string, 0, len(rows)+1)
	if !c.flags.Bool("noheading") {
		table = append(table, []string{"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"})
	}
	for _, r := range rows {
		table = append(table, []string{r.ID(), r.Image(), r.Command(), r.CreatedHuman(), r.Status(), r.Ports(), r.Names()})
	}
	writeTable(c.out, table)
	return nil
}

// psHeadings are those that differ from the field's name.
var psHeadings = headings{"ID": "CONTAINER ID", "RunningFor": "CREATED", "CreatedHuman": "CREATED", "Pid": "PID", "CIDFile": "CIDFILE"}

// psRow is a container in a list. Its methods are the fields of a template.
type psRow struct {
	s     *engine.Summary
	now   time.Time
	trunc bool
}

// ID is the container's ID.
func (r psRow) ID() string {
	if r.trunc {
		return shortID(r.s.Record.ID)
	}
	return r.s.Record.ID
}

// Names is its name.
func (r psRow) Names() string { return r.s.Record.Name }

// Image is the name of the image, or the directory that is run instead.
func (r psRow) Image() string {
	rec := r.s.Record
	switch {
	case rec.Image.Name != "":
		return rec.Image.Name
	case rec.Image.ID != "":
		return shortID(rec.Image.ID)
	}
	return rec.Rootfs.Path
}

// ImageID is the ID of the image.
func (r psRow) ImageID() string {
	if r.trunc {
		return shortID(r.s.Record.Image.ID)
	}
	return strings.TrimPrefix(r.s.Record.Image.ID, "sha256:")
}

// Command is what is run.
func (r psRow) Command() string {
	command := strings.Join(r.s.Record.Command, " ")
	if r.trunc {
		return cut(command, 17)
	}
	return command
}

// Created is when it was made, in seconds since 1970.
func (r psRow) Created() int64 { return r.s.Record.Created.Unix() }

// CreatedAt is when it was made.
func (r psRow) CreatedAt() string { return timeText(r.s.Record.Created) }

// CreatedHuman is how long ago it was made.
func (r psRow) CreatedHuman() string { return ago(r.now, r.s.Record.Created) }

// RunningFor is the same, by Docker's name.
func (r psRow) RunningFor() string { return r.CreatedHuman() }

// State is the state in one word.
func (r psRow) State() string { return string(r.s.State) }

// Status is the state and since when.
func (r psRow) Status() string {
	switch s := r.s; s.State {
	case container.Running, container.Paused, container.Stopping:
		text := "Up"
		if s.Started != nil {
			text += " " + humanDuration(r.now.Sub(s.Started.Time))
		}
		if s.State != container.Running {
			text += " (" + title(string(s.State)) + ")"
		}
		return text
	case container.Exited:
		return "Exited (" + exitText(s.Exit) + ")" + prefixed(" ", ago(r.now, s.Exit.Finished))
	}
	return title(r.State())
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// ExitCode is that of the last run.
func (r psRow) ExitCode() string {
	if r.s.Exit == nil {
		return "0"
	}
	return exitText(r.s.Exit)
}

// Exited says whether it has run and ended.
func (r psRow) Exited() bool { return r.s.State == container.Exited }

// ExitedAt is when, in seconds since 1970.
func (r psRow) ExitedAt() int64 {
	if r.s.Exit == nil || r.s.Exit.Finished.IsZero() {
		return 0
	}
	return r.s.Exit.Finished.Unix()
}

// StartedAt is when it was started, in seconds since 1970.
func (r psRow) StartedAt() int64 {
	switch {
	case r.s.Started != nil:
		return r.s.Started.Time.Unix()
	case r.s.Exit != nil && !r.s.Exit.Started.IsZero():
		return r.s.Exit.Started.Unix()
	}
	return 0
}

// Pid is that of the container's first process, 0 where it does not run.
func (r psRow) Pid() int {
	if r.s.Started == nil {
		return 0
	}
	return r.s.Started.Pid
}

// Restarts is how often it was started again by its restart policy.
func (r psRow) Restarts() int {
	if r.s.Started == nil {
		return 0
	}
	return r.s.Started.Restarts
}

// Ports are the published ports: none yet.
func (r psRow) Ports() string { return "" }

// Labels are all labels, sorted.
func (r psRow) Labels() string {
	list := make([]string, 0, len(r.s.Record.Labels))
	for k, v := range r.s.Record.Labels {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// Label is one label.
func (r psRow) Label(key string) string { return r.s.Record.Labels[key] }

// Mounts are the places of the mounts that were asked for.
func (r psRow) Mounts() string { return strings.Join(r.mounts(), ",") }

func (r psRow) mounts() []string {
	list := make([]string, 0, len(r.s.Record.Mounts))
	for _, m := range r.s.Record.Mounts {
		list = append(list, m.Destination)
	}
	return list
}

// Networks is the network.
func (r psRow) Networks() string {
	if n := r.s.Record.Spec.Network; n != "" {
		return n
	}
	return "none"
}

// AutoRemove says whether it goes away when it ends.
func (r psRow) AutoRemove() bool { return r.s.Record.AutoRemove }

// Unit is the systemd unit it runs in, or ran in last.
func (r psRow) Unit() string { return r.s.Unit }

// Fields of Podman's that have nothing to show here.

func (r psRow) CIDFile() string      { return "" }
func (r psRow) ExposedPorts() string { return "" }
func (r psRow) IsInfra() bool        { return false }
func (r psRow) LocalVolumes() string { return "0" }
func (r psRow) Pod() string          { return "" }
func (r psRow) PodName() string      { return "" }
func (r psRow) Size() string         { return "" }

// psJSON is a container in ps --format json, by Podman's names.
type psJSON struct {
	AutoRemove bool
	Command    []string
	CreatedAt  string
	Exited     bool
	ExitedAt   int64
	ExitCode   *int
	ID         string `json:"Id"`
	Image      string
	ImageID    string
	IsInfra    bool
	Labels     map[string]string
	Mounts     []string
	Names      []string
	Networks   []string
	Pid        int
	Pod        string
	PodName    string
	Ports      []any
	Restarts   int
	StartedAt  int64
	State      string
	Status     string
	Unit       string
	Created    int64
}

func (r psRow) json() psJSON {
	r.trunc = false
	j := psJSON{
		AutoRemove: r.AutoRemove(), Command: r.s.Record.Command, CreatedAt: r.CreatedHuman(),
		Exited: r.Exited(), ExitedAt: r.ExitedAt(), ID: r.ID(), Image: r.Image(), ImageID: r.ImageID(),
		Labels: r.s.Record.Labels, Mounts: r.mounts(), Names: []string{r.Names()}, Networks: []string{r.Networks()},
		Pid: r.Pid(), Ports: []any{}, Restarts: r.Restarts(), StartedAt: r.StartedAt(),
		State: r.State(), Status: r.Status(), Unit: r.Unit(), Created: r.Created(),
	}
	zero := 0
	if j.ExitCode = &zero; r.s.Exit != nil {
		j.ExitCode = r.s.Exit.Code
	}
	return j
}

// MarshalJSON is what {{json .}} shows.
func (r psRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.json()) }

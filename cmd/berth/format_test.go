package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/image"
)

func TestHumanDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "Less than a second", 999 * time.Millisecond: "Less than a second", time.Second: "1 second", 59 * time.Second: "59 seconds",
		time.Minute: "About a minute", 119 * time.Second: "About a minute", 2 * time.Minute: "2 minutes", 59 * time.Minute: "59 minutes",
		time.Hour: "About an hour", 80 * time.Minute: "About an hour", 100 * time.Minute: "2 hours", 47 * time.Hour: "47 hours",
		48 * time.Hour: "2 days", 13 * 24 * time.Hour: "13 days", 14 * 24 * time.Hour: "2 weeks", 60 * 24 * time.Hour: "2 months",
		2 * 365 * 24 * time.Hour: "2 years", -time.Second: "Less than a second",
	} {
		if got := humanDuration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1 kB", 1234: "1.23 kB", 7457000: "7.46 MB", 331e6: "331 MB", 999999: "1 MB", 999499: "999 kB", 126e3: "126 kB", 1e18: "1 EB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func testContainers() []engine.Summary {
	start := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	record := func(id, name, img string, age time.Duration, command ...string) *container.Record {
		return &container.Record{
			ID: strings.Repeat(id, 64), Name: name, Created: start.Add(-age), Command: command,
			Image:  container.ImageRef{Name: img, ID: "sha256:" + strings.Repeat(id, 64)},
			Labels: map[string]string{"tier": "front", "a": "b"},
			Mounts: []container.Mount{{Type: "bind", Source: "/srv", Destination: "/data"}},
		}
	}
	code := func(n int) *int { return &n }
	return []engine.Summary{
		{Record: record("a", "web", "nginx:latest", time.Hour, "nginx", "-g", "daemon off;"), State: container.Running, Unit: "berth-web.service",
			Started: &container.Started{Pid: 42, Time: start.Add(-3 * time.Second)}},
		{Record: record("b", "job", "localhost:5000/a/very/long/name:of-a-tag", 2*time.Minute, "true"), State: container.Exited,
			Exit: &container.Exit{Code: code(137), Finished: start.Add(-2 * time.Minute)}},
		{Record: record("c", "new", "busybox", 40*24*time.Hour, "sh"), State: container.Created},
		{Record: record("d", "lost", "busybox", time.Second, "sh"), State: container.Exited, Exit: &container.Exit{Finished: start.Add(-time.Minute)}},
		{Record: record("e", "ending", "bad\x1b[31mname", time.Second, "sh"), State: container.Stopping, Started: &container.Started{Time: start.Add(-time.Hour)}},
	}
}

// printed is what printing by the flags of a verb gives.
func printed(t *testing.T, v *verb, args string, print func(*call) error) (string, error) {
	t.Helper()
	flags := v.flags()
	flagArgs, _, _, err := canonical(flags, strings.Split(args, "|"), true)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	c := &call{app: &app{out: bufio.NewWriter(&b)}, verb: v}
	err = withFlags(t.Context(), nil, flags, flagArgs, func(f *cli.Context) error {
		c.flags = f
		return print(c)
	})
	c.out.Flush()
	return b.String(), err
}

func printedPs(t *testing.T, args string) (string, error) {
	return printed(t, psVerb(), args, func(c *call) error {
		list := testContainers()
		rows := make([]psRow, len(list))
		for i := range list {
			rows[i] = psRow{&list[i], time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC), !c.flags.Bool("no-trunc")}
		}
		return c.printPs(rows)
	})
}

func TestPs(t *testing.T) {
	t.Setenv("TZ", "UTC")
	time.Local = time.UTC
	for name, args := range map[string]string{
		"ps":           "",
		"ps-notrunc":   "--no-trunc",
		"ps-quiet":     "-q",
		"ps-noheading": "--noheading",
		"ps-json":      "--format|json",
		"ps-table":     `--format|table {{.ID}}\t{{.Names}}\t{{.Label "tier"}}\t{{.RunningFor}}\t{{.CreatedAt}}\t{{.ExitCode}}\t{{upper .State}}\t{{json .Pid}}`,
		"ps-json-row":  "--format|{{json .}}",
		"ps-template":  "--format|{{.Names}}: {{.Labels}} {{.Mounts}} {{.Networks}} {{.Unit}} {{.ImageID}} {{pad .Status 1 1}}{{truncate .Image 4}}",
	} {
		got, err := printedPs(t, args)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden(t, name, got)
	}
}

func TestPsFormatErrors(t *testing.T) {
	for format, want := range map[string]string{
		"{{.Nmaes}}":       "--format: there is no field .Nmaes",
		"table {{.Nmaes}}": "--format: there is no field .Nmaes",
		"{{.Names":         "unclosed action",
		"{{bogus .Names}}": `function "bogus" not defined`,
		"{{split .Names}}": "wrong number of args",
	} {
		out, err := printedPs(t, "--format|"+format)
		if !strings.Contains(errText(err), want) || strings.Contains(errText(err), "\n") {
			t.Errorf("%s: got %q, %q, want %q", format, out, errText(err), want)
		}
	}
}

func testImages() []*image.Image {
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	img := func(digit string, size int64, age time.Duration, names ...string) *image.Image {
		m := &image.Image{ID: digest.Digest("sha256:" + strings.Repeat(digit, 64)), DiskSize: size, Created: now.Add(-age), Names: names}
		m.Manifest.Digest = digest.Digest("sha256:" + strings.Repeat("f", 64))
		m.Config.Config.Labels = map[string]string{"k": "v"}
		return m
	}
	return []*image.Image{
		img("1", 72e6, 48*time.Hour, "docker.io/library/nginx:latest", "docker.io/library/nginx:1.27"),
		img("2", 1234, time.Hour, "localhost:5000/a/b:x"),
		img("3", 999999, 400*24*time.Hour),
	}
}

func TestImages(t *testing.T) {
	for name, args := range map[string]string{
		"images":          "",
		"images-digests":  "--digests|--noheading",
		"images-notrunc":  "--no-trunc",
		"images-quiet":    "-q",
		"images-json":     "--format|json",
		"images-json-row": "--format|{{json .}}",
		"images-table":    "--format|table {{.ID}} {{.Repository}} {{.Tag}} {{.CreatedSince}}",
		"images-template": "--format|{{.Repository}}:{{.Tag}} {{.Size}} {{.VirtualSize}} {{.Labels.k}} {{.Label \"k\"}} {{json .RepoTags}} {{.Dangling}}",
	} {
		got, err := printed(t, imagesVerb(), args, func(c *call) error {
			rows := imageRows(c, testImages())
			for i := range rows {
				rows[i].now = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
			}
			return c.printImages(rows)
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden(t, name, got)
	}
}

func TestImageFilter(t *testing.T) {
	rows := imageRows(&call{flags: cli.NewContext(nil, nil, nil)}, testImages())
	for filter, want := range map[string]string{
		"reference=nginx": "latest 1.27", "reference=nginx:1.27": "1.27", "reference=library/nginx": "latest 1.27", "reference=docker.io/library/*": "latest 1.27",
		"reference=*:x": "x", "reference=b": "x", "reference=c": "", "dangling=true": "<none>", "dangling=false": "latest 1.27 x",
		"label=k=v": "latest 1.27 x <none>", "label!=k": "", "label=k=w": "", "id=2": "x", "id=sha256:11": "latest 1.27", "until=2025-02-28": "latest 1.27 <none>",
	} {
		keep, err := imageFilter(nil, filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		var tags []string
		for _, r := range rows {
			if keep(r) {
				tags = append(tags, r.tag)
			}
		}
		if got := strings.Join(tags, " "); got != want {
			t.Errorf("%s: got %q, want %q", filter, got, want)
		}
	}
	for _, filter := range []string{"", "nginx", "bogus=1", "dangling=perhaps", "until=never"} {
		if _, err := imageFilter(nil, filter); err == nil {
			t.Errorf("%q: want an error", filter)
		}
	}
}

func TestPrintObject(t *testing.T) {
	code := 3
	d := &engine.Details{ID: "abc", Name: "web", State: engine.DetailsState{Status: container.Exited, ExitCode: &code, Pid: 1 << 40}}
	for format, want := range map[string]string{
		"{{.Id}} {{.Name}}":          "abc web",
		"{{.ID}}":                    "abc",
		"{{.State.Status}}":          "exited",
		"{{.State.ExitCode}}":        "3",
		"{{json .State.ExitCode}}":   "3",
		"{{.Id}} {{.State.Pid}}":     "abc 1099511627776",
		"{{join .Config.Env \",\"}}": "",
		`{{.Name}}\n{{.Name}}`:       "web\nweb",
		"{{title .Name}}":            "Web",
	} {
		var b bytes.Buffer
		if err := printObject(&b, format, d); err != nil || b.String() != want+"\n" {
			t.Errorf("%s: got %q, %v, want %q", format, b.String(), err, want)
		}
	}
	for format, want := range map[string]string{"{{.Nope}}": "there is no field .Nope", "{{.State.Nope}}": "no field .Nope", "{{": "unclosed"} {
		var b bytes.Buffer
		if err := printObject(&b, format, d); !strings.Contains(errText(err), want) {
			t.Errorf("%s: got error %q, want %q", format, errText(err), want)
		}
	}
}

func TestParseTime(t *testing.T) {
	time.Local = time.UTC
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"10m": now.Add(-10 * time.Minute), "1740830400": now, "1740830400.5": now.Add(time.Second / 2), "2025-03-01T12:00:00Z": now,
		"2025-03-01T13:00:00+01:00": now, "2025-03-01T12:00:00": now, "2025-03-01": now.Add(-12 * time.Hour), "2025-03-01T12:00": now,
	} {
		if got, err := parseTime(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "yesterday", "2025-13-01", "1.x"} {
		if got, err := parseTime(s, now); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestExitCodes(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{status(42), 42, ""},
		{boom, 125, "Error: boom\n"},
		{&engine.StartError{Code: 127, Err: boom}, 127, "Error: boom\n"},
		{&codedError{1, boom}, 1, "Error: boom\n"},
		{failures{&codedError{1, boom}, &codedError{1, boom}}, 1, "Error: boom\nError: boom\n"},
		{failures{&codedError{1, boom}, &codedError{2, boom}}, 2, "Error: boom\nError: boom\n"},
		{failures{&codedError{1, boom}, boom}, 125, "Error: boom\nError: boom\n"},
		{fmt.Errorf("x: %w", syscall.EPIPE), 141, ""},
		{&usageError{"run", boom}, 125, "Error: run: boom\n"},
		{errors.New("two\nlines \x1b[31m"), 125, "Error: two; lines ?[31m\n"},
	} {
		var b bytes.Buffer
		if code := report(&b, tt.err); code != tt.code || b.String() != tt.text {
			t.Errorf("%v: got %d, %q, want %d, %q", tt.err, code, b.String(), tt.code, tt.text)
		}
	}
}

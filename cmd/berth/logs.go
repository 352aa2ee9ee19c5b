package main

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/logs"
)

func logsVerb() *verb {
	return &verb{
		top: "logs", container: "logs", group: "Containers",
		args: "CONTAINER...", max: -1,
		short: "Show what containers have written",
		long: `
Standard output goes to standard output, standard error to standard error.
journalctl -u berth-NAME shows the same where the log driver is journald.`,
		examples: `
berth logs -f --tail 20 web
berth logs --since 10m -t web db`,
		flags: func() []cli.Flag {
			return []cli.Flag{
				boolean("follow f", "go on until the container ends"),
				latestFlag(),
				boolean("names n", "put the container's name before each line"),
				str("since", "from this time on: 2006-01-02T15:04:05Z, seconds since 1970, or 10m ago", "TIME"),
				str("tail", "the last N lines only", "N"),
				boolean("timestamps t", "put the time before each line"),
				str("until", "up to this time", "TIME"),
				accepted(boolean("color", "")),
				accepted(boolean("details", "")),
			}
		},
		run: runLogs,
	}
}

func runLogs(c *call) error {
	o, err := c.logsOptions()
	if err != nil {
		return err
	}
	list, err := c.containers()
	if err != nil {
		return err
	}
	p := &logPrinter{c: c, times: c.flags.Bool("timestamps"), flush: o.Follow}
	prefix := c.flags.Bool("names")
	if !o.Follow || len(list) == 1 {
		var errs failures
		for _, name := range list {
			if err := engine.Logs(c.ctx, c.host, name, o, p.entry(name, prefix)); err != nil {
				errs = append(errs, err)
			}
		}
		return errs.err()
	}
	return c.followAll(list, o, p, prefix)
}

// followAll shows several logs as they grow.
func (c *call) followAll(list []string, o logs.Options, p *logPrinter, prefix bool) error {
	results := make([]error, len(list))
	var group sync.WaitGroup
	for i, name := range list {
		group.Go(func() { results[i] = engine.Logs(c.ctx, c.host, name, o, p.entry(name, prefix)) })
	}
	group.Wait()
	var errs failures
	for _, err := range results {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs.err()
}

func (c *call) logsOptions() (logs.Options, error) {
	o := logs.Options{Stdout: true, Stderr: true, Follow: c.flags.Bool("follow")}
	v := &values{Context: c.flags}
	now := time.Now()
	at := func(s string) (time.Time, error) { return parseTime(s, now) }
	o.Since, o.Until = one(v, "since", at), one(v, "until", at)
	if tail := c.flags.String("tail"); tail != "" && tail != "all" && tail != "-1" {
		n := one(v, "tail", parseInt(0, 1<<31, "a number of lines, or all"))
		lines := int(n)
		o.Tail = &lines
	}
	if v.err != nil {
		return o, &usageError{err: v.err}
	}
	return o, nil
}

// parseTime reads a moment: RFC 3339 with less or more of it, a date, seconds
// since 1970, or how long ago it was.
func parseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	whole, frac, _ := strings.Cut(s, ".")
	if n, err := strconv.ParseInt(whole, 10, 64); err == nil && len(frac) <= 9 && strings.Trim(frac, "0123456789") == "" {
		nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		return time.Unix(n, nanos), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("a time such as 2006-01-02T15:04:05Z, seconds since 1970, or how long ago, e.g. 10m")
}

// logPrinter writes entries of one or more logs.
type logPrinter struct {
	c     *call
	times bool
	flush bool

	mu sync.Mutex // guards the two outputs
}

// entry returns the function that is given the entries of one container.
func (p *logPrinter) entry(name string, prefix bool) func(logs.Entry) error {
	var partial [3]bool // by stream: the line goes on
	return func(e logs.Entry) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		var b []byte
		stream := e.Stream % 3
		if !partial[stream] {
			if prefix {
				b = append(append(b, name...), ' ')
			}
			if p.times {
				b = e.Time.Local().AppendFormat(b, time.RFC3339Nano)
				b = append(b, ' ')
			}
		}
		b = append(b, e.Line...)
		if partial[stream] = e.Partial; !e.Partial {
			b = append(b, '\n')
		}
		return p.write(e.Stream, b)
	}
}

func (p *logPrinter) write(stream logs.Stream, b []byte) error {
	if stream == logs.Stderr {
		if err := p.c.out.Flush(); err != nil { // in the order in which they were written
			return outputError(err)
		}
		if _, err := p.c.std.err.Write(b); err != nil {
			return outputError(err)
		}
		return nil
	}
	if _, err := p.c.out.Write(b); err != nil {
		return outputError(err)
	}
	if p.flush {
		if err := p.c.out.Flush(); err != nil {
			return outputError(err)
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row measures one subject, and may fill several tables.
type row struct {
	name    string
	measure func(ctx context.Context, b *bench) error
}

// rows in the order in which they run.
var rows = []row{
	{"run", func(ctx context.Context, b *bench) error { return foreground(ctx, b, "none") }},
	{"host", func(ctx context.Context, b *bench) error { return foreground(ctx, b, "host") }},
	{"start", start},
	{"exec", execs},
	{"crowd", crowd},
	{"pull", pull},
	{"oci", oci},
	{"logs", logs},
}

// effort is how long a run may take.
type effort struct {
	rounds  int // of what takes a fraction of a second
	crowd   int // containers at once
	crowds  int // how often
	pulls   int
	lines   int // of log, through files
	journal int // of log, through journald, which is an order of magnitude slower
	limit   time.Duration
}

var (
	full  = effort{rounds: 20, crowd: 100, crowds: 3, pulls: 3, lines: 1_000_000, journal: 250_000, limit: 9 * time.Minute}
	quick = effort{rounds: 7, crowd: 40, crowds: 1, pulls: 1, lines: 200_000, journal: 50_000, limit: time.Minute}
)

// bench is one run.
type bench struct {
	effort
	dir     string           // scratch; containers see it as /bench
	engines []engine         // what is there
	absent  map[string]error // by name: why an engine is not there
	report  report
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "emit" { // what containers run to have something to log
		n, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = emit(os.Stdout, n)
		}
		exit(err)
	}
	b := &bench{effort: full}
	isQuick := flag.Bool("quick", false, "fewer rounds, smaller crowds")
	file := flag.String("json", "", "write all figures to `FILE`")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: bench [-quick] [-json FILE] [ROW...]\nrows: %s\n", strings.Join(names(), " "))
	}
	flag.Parse()
	if *isQuick {
		b.effort = quick
	}
	wanted := flag.Args()
	for _, name := range wanted {
		if !slices.Contains(names(), name) {
			fmt.Fprintf(os.Stderr, "bench: unknown row %s\n", name)
			flag.Usage()
			os.Exit(2)
		}
	}
	exit(b.main(wanted, *file))
}

func names() []string {
	var s []string
	for _, r := range rows {
		s = append(s, r.name)
	}
	return s
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (b *bench) main(wanted []string, file string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	begun := time.Now()
	if err := b.setUp(ctx); err != nil {
		return err
	}
	b.report.begin(os.Stdout)
	for _, r := range rows {
		if len(wanted) > 0 && !slices.Contains(wanted, r.name) {
			continue
		}
		t := time.Now()
		if rowErr := r.measure(ctx, b); rowErr != nil {
			err = errors.Join(err, fmt.Errorf("row %s: %w", r.name, rowErr))
		}
		b.report.took(r.name, time.Since(t))
	}
	missed := b.report.end(os.Stdout, time.Since(begun))
	if file != "" {
		err = errors.Join(err, b.report.write(file))
	}
	if missed > 0 {
		err = errors.Join(err, fmt.Errorf("bars missed: %d", missed))
	}
	return err
}

// setUp starts what the contenders need and gives each the same image.
func (b *bench) setUp(ctx context.Context) error {
	b.dir = "/run/bench"
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	if err := command(ctx, "systemctl", "start", "registry", "docker"); err != nil {
		return err
	}
	b.absent = map[string]error{}
	for _, e := range allEngines {
		if err := command(ctx, e.binary, "pull", "-q", image); err != nil {
			b.absent[e.name] = err
			fmt.Fprintf(os.Stderr, "bench: without %s: %v\n", e.name, err)
			continue
		}
		b.engines = append(b.engines, e)
	}
	b.report.About = about(ctx)
	return nil
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// lineSize is the length of a log line, with its end.
const lineSize = 100

// filler is the rest of a line after its number.
const filler = " the quick brown fox jumps over the lazy dog, and the lazy dog does not mind as long as it"

// appendLine appends the nth line, whose end is missing.
func appendLine(buf []byte, n int) []byte {
	const digits = lineSize - 1 - len(filler)
	buf = append(buf, "000000000000"[:digits]...)
	for i := len(buf) - 1; n > 0; i, n = i-1, n/10 {
		buf[i] += byte(n % 10)
	}
	return append(buf, filler...)
}

// emit writes n lines as a program does whose output is a pipe: 4096 bytes at a time.
func emit(w io.Writer, n int) error {
	out := bufio.NewWriterSize(w, 4096)
	var line []byte
	for i := range n {
		line = append(appendLine(line[:0], i), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

// logged is a log driver of an engine, and how to find what it has kept.
type logged struct {
	engine, driver string
	journal        bool
	path           []string                          // command that prints the log's path
	content        func(line []byte) ([]byte, error) // what the container wrote, of a line of the file
}

var drivers = []logged{
	{engine: berth, driver: "k8s-file", path: []string{"sh", "-c", `echo /var/lib/berth/containers/$(berth inspect --format '{{.Id}}' "$0")/ctr.log`}, content: criContent},
	{engine: podman, driver: "k8s-file", path: []string{"podman", "inspect", "--format", "{{.HostConfig.LogConfig.Path}}"}, content: criContent},
	{engine: docker, driver: "json-file", path: []string{"docker", "inspect", "--format", "{{.LogPath}}"}, content: jsonContent},
	{engine: berth, driver: "journald", journal: true},
	{engine: podman, driver: "journald", journal: true},
	{engine: docker, driver: "journald", journal: true},
}

// criContent takes "TIME stdout F content" apart.
func criContent(line []byte) ([]byte, error) {
	parts := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
	if len(parts) != 4 {
		return nil, fmt.Errorf("bad line %.60q", line)
	}
	return parts[3], nil
}

func jsonContent(line []byte) ([]byte, error) {
	var v struct{ Log string }
	if err := json.Unmarshal(line, &v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(v.Log, "\n")), nil
}

func journalContent(line []byte) ([]byte, error) { return bytes.TrimSuffix(line, []byte("\n")), nil }

// logs is the time from the start of a container that writes much to its end, when all of it is in the log; and whether
// it is.
func logs(ctx context.Context, b *bench) error {
	if err := copySelf(filepath.Join(b.dir, "emit")); err != nil {
		return err
	}
	engines := map[string]engine{}
	for _, e := range b.distinct() {
		engines[e.name] = e
	}
	for _, journal := range []bool{false, true} {
		lines, rounds := b.lines, 2
		if journal {
			lines, rounds = b.journal, 1
		}
		var cs []contender
		for _, d := range drivers {
			if e, ok := engines[d.engine]; ok && d.journal == journal {
				cs = append(cs, b.logger(ctx, e, d, lines))
			}
		}
		results := b.race(ctx, 0, rounds, cs)
		for i := range results {
			r := &results[i]
			if r.Error == "" {
				r.Note = fmt.Sprintf("%.0f MB/s, no line missing", float64(lines)*lineSize/1e3/median(r.Samples, wall))
			}
		}
		t := table{
			Row: "logs", Unit: "ms", Ref: podman + ", k8s-file", Results: results,
			Title: fmt.Sprintf("%d MB of %d-byte lines, into a file", lines*lineSize/1_000_000, lineSize),
		}
		if journal {
			t.Title, t.Ref = strings.Replace(t.Title, "a file", "the journal", 1), podman+", journald"
		}
		b.add(t)
	}
	return nil
}

func copySelf(dir string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "bench"), self, 0o755))
}

func (b *bench) logger(ctx context.Context, e engine, d logged, lines int) contender {
	var name string
	wait := []string{e.binary, "wait"}
	if e.name == podman {
		wait = append(wait, "-i", "5ms") // it polls, every 250 ms unless told
	}
	return contender{
		name: e.name + ", " + d.driver,
		do: func(round int) error {
			name = fmt.Sprintf("log-%s-%s-%d", e.binary, d.driver, round)
			return errors.Join(
				command(ctx, append(e.run("-d", "--name", name, "--network", "none", "--log-driver", d.driver,
					"-v", filepath.Join(b.dir, "emit")+":/emit"), image, "/emit/bench", "emit", fmt.Sprint(lines))...),
				command(ctx, append(wait, name)...),
			)
		},
		after: func(int) error {
			err := d.check(ctx, name, lines)
			err = errors.Join(err, command(ctx, e.remove(name)...))
			if d.journal { // or the next one has to share the space
				err = errors.Join(err, command(ctx, "journalctl", "-q", "--rotate", "--vacuum-size=1M"))
			}
			return err
		},
	}
}

// check compares a log with what was written.
func (d logged) check(ctx context.Context, name string, lines int) error {
	if !d.journal {
		path, err := output(ctx, append(d.path, name)...)
		if err != nil {
			return err
		}
		f, err := os.Open(strings.TrimSpace(path))
		if err != nil {
			return err
		}
		defer f.Close()
		return compare(f, d.content, lines)
	}
	if err := command(ctx, "journalctl", "--sync"); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "journalctl", "-q", "-o", "cat", "CONTAINER_NAME="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = compare(out, journalContent, lines)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	return cmd.Wait()
}

// compare wants every line, in order. Loggers may cut a line that came in two reads, so ends of lines do not count.
func compare(r io.Reader, content func([]byte) ([]byte, error), lines int) error {
	in := bufio.NewReaderSize(r, 1<<20)
	var want []byte
	n := 0 // lines whose beginning was seen
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		} else if err != nil && err != io.EOF {
			return err
		}
		got, err := content(line)
		if err != nil {
			return err
		}
		for len(got) > 0 {
			if len(want) == 0 {
				want = appendLine(want, n)
				n++
			}
			k := min(len(got), len(want))
			if n > lines || !bytes.Equal(got[:k], want[:k]) {
				return fmt.Errorf("log differs in line %d: %.40q", n-1, got)
			}
			got, want = got[k:], want[k:]
		}
	}
	if n != lines || len(want) > 0 {
		return fmt.Errorf("log ends after %d of %d lines", n, lines)
	}
	return nil
}

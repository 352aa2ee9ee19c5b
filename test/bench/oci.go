package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// runtimes are OCI runtimes, alone: no engine, no systemd.
var runtimes = []struct{ name, path string }{
	{"berth-runtime", "/usr/libexec/berth/berth-runtime"},
	{"crun", "crun"},
	{"runc", "runc"},
}

// oci compares the runtimes on one bundle.
func oci(ctx context.Context, b *bench) error {
	bundle := filepath.Join(b.dir, "bundle")
	if err := makeBundle(ctx, bundle); err != nil {
		return err
	}
	var runs, cycles, execs []contender
	var peaks []result
	for _, r := range runtimes {
		id := "bench-" + r.name
		runs = append(runs, each(ctx, r.name, r.path, "run", "-b", bundle, id))
		cycles = append(cycles, contender{name: r.name, do: func(int) error {
			return errors.Join(
				command(ctx, r.path, "create", "-b", bundle, id),
				command(ctx, r.path, "start", id),
				command(ctx, r.path, "delete", "-f", id),
			)
		}})
		sleeper := id + "-exec"
		e := each(ctx, r.name, r.path, "exec", sleeper, "/bin/true")
		err := errors.Join(
			command(ctx, r.path, "create", "-b", bundle+"-sleep", sleeper),
			command(ctx, r.path, "start", sleeper),
		)
		defer command(context.WithoutCancel(ctx), r.path, "delete", "-f", sleeper)
		if err != nil {
			e.before = func(int) error { return fmt.Errorf("start: %w", err) }
		}
		execs = append(execs, e)
		peaks = append(peaks, peak(ctx, r.name, r.path, "run", "-b", bundle, id))
	}
	for _, t := range []struct {
		title string
		cs    []contender
	}{
		{"OCI runtimes: run", runs},
		{"OCI runtimes: create, start, delete -f", cycles},
		{"OCI runtimes: exec", execs},
	} {
		b.add(table{Row: "oci", Title: t.title, Unit: "ms", Ref: "crun", Results: b.race(ctx, 2, b.rounds, t.cs)})
	}
	b.add(table{Row: "oci", Title: "OCI runtimes: peak RSS of run", Unit: "MB", Ref: "crun", Results: peaks})
	return nil
}

// peak runs a command under busybox's time: a child's peak begins with its parent's size at the fork, and busybox's is
// small.
func peak(ctx context.Context, name string, args ...string) result {
	file := "/run/bench/peak"
	err := command(ctx, append([]string{"busybox", "time", "-o", file, "-f", "%M"}, args...)...)
	data, readErr := os.ReadFile(file)
	kb, parseErr := strconv.Atoi(strings.TrimSpace(string(data)))
	if err := errors.Join(err, readErr, parseErr); err != nil {
		return result{Name: name, Error: err.Error()}
	}
	return result{Name: name, Value: float64(kb) / 1000}
}

// makeBundle makes dir, whose process is true, and dir-sleep, whose process stays.
func makeBundle(ctx context.Context, dir string) error {
	rootfs := filepath.Join(dir, "rootfs")
	err := errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+"-sleep"), os.MkdirAll(rootfs, 0o755), os.MkdirAll(dir+"-sleep", 0o755))
	if err != nil {
		return err
	}
	err = command(ctx, "sh", "-ec", `
		c=$(docker create --network none `+image+`)
		docker export $c | tar -x -C `+rootfs+`
		docker rm $c
		cd `+dir+` && runc spec`)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	for to, args := range map[string][]string{dir: {"/bin/true"}, dir + "-sleep": {"/bin/sleep", "1000"}} {
		var spec map[string]any
		if err := json.Unmarshal(data, &spec); err != nil {
			return err
		}
		process, _ := spec["process"].(map[string]any)
		linux, _ := spec["linux"].(map[string]any)
		if process == nil || linux == nil {
			return errors.New("runc spec: no process or no linux")
		}
		process["terminal"], process["args"] = false, args
		spec["root"] = map[string]any{"path": rootfs}
		delete(linux, "resources") // a box has no controllers
		out, err := json.Marshal(spec)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, "config.json"), out, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

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
	crun, runc := bar{Name: "berth-runtime", Of: "crun", Limit: 1}, bar{Name: "berth-runtime", Of: "runc", Limit: 0.25}
	for _, t := range []struct {
		title string
		cs    []contender
		bars  []bar
	}{
		{"OCI runtimes: run", runs, []bar{crun, runc}},
		{"OCI runtimes: create, start, delete -f", cycles, []bar{crun, runc}},
		{"OCI runtimes: exec", execs, []bar{crun}},
	} {
		b.add(table{Row: "oci", Title: t.title, Unit: "ms", Ref: "crun", Results: b.race(ctx, 2, b.rounds, t.cs), Bars: t.bars})
	}
	b.add(table{Row: "oci", Title: "OCI runtimes: peak RSS of run, of the biggest process", Unit: "MB", Ref: "crun", Results: peaks,
		Bars: []bar{{Name: "berth-runtime", Of: "runc", Limit: 0.5}}})
	return errors.Join(ociMounts(ctx, b, bundle), ociCrowd(ctx, b, bundle))
}

// ociMounts is how run grows with the bundle's mounts: binds and tmpfs by turns.
func ociMounts(ctx context.Context, b *bench, bundle string) error {
	slopes := table{Row: "oci", Title: "OCI runtimes: each mount beyond 10, of 1000", Unit: "µs", Ref: "crun", Bars: []bar{{
		// Linearly: what a thousand cost each is no more than what the first hundred did.
		Name: "berth-runtime (10 to 1000)", Of: "berth-runtime (10 to 100)", Limit: 2}}}
	at := map[string]map[int]float64{}
	for _, n := range []int{10, 100, 1000} {
		dir := fmt.Sprintf("%s-mounts%d", bundle, n)
		if err := derive(bundle, dir, func(spec map[string]any) {
			mounts, _ := spec["mounts"].([]any)
			for i := range n {
				m := map[string]any{"destination": fmt.Sprintf("/run/mounts/%d", i), "type": "tmpfs", "source": "tmpfs"}
				if i%2 == 0 {
					m["type"], m["source"], m["options"] = "bind", "/usr", []string{"rbind", "ro"}
				}
				mounts = append(mounts, m)
			}
			spec["mounts"] = mounts
			spec["root"] = map[string]any{"path": filepath.Join(bundle, "rootfs")}
		}); err != nil {
			return err
		}
		var cs []contender
		for _, r := range runtimes {
			cs = append(cs, each(ctx, r.name, r.path, "run", "-b", dir, "bench-"+r.name))
		}
		rounds := b.rounds
		if n == 1000 {
			rounds = min(rounds, 5)
		}
		results := b.race(ctx, 1, rounds, cs)
		for _, r := range results {
			if len(r.Samples) == 0 {
				continue
			}
			if at[r.Name] == nil {
				at[r.Name] = map[int]float64{}
			}
			at[r.Name][n] = median(r.Samples, wall)
		}
		b.add(table{Row: "oci", Title: fmt.Sprintf("OCI runtimes: run with %d mounts", n), Unit: "ms", Ref: "crun", Results: results,
			Bars: []bar{{Name: "berth-runtime", Of: "runc", Limit: 0.5}}})
	}
	for _, r := range runtimes {
		if ms := at[r.name]; ms[10] > 0 && ms[1000] > 0 {
			slopes.Results = append(slopes.Results, result{Name: r.name, Value: (ms[1000] - ms[10]) / 990 * 1000})
		}
	}
	if ms := at["berth-runtime"]; ms[100] > 0 && ms[1000] > 0 {
		slopes.Results = append(slopes.Results, result{Name: "berth-runtime (10 to 100)", Value: (ms[100] - ms[10]) / 90 * 1000},
			result{Name: "berth-runtime (10 to 1000)", Value: (ms[1000] - ms[10]) / 990 * 1000})
	}
	b.add(slopes)
	return nil
}

// ociCrowd runs a hundred containers at once: time, and whether one of them fails.
func ociCrowd(ctx context.Context, b *bench, bundle string) error {
	const crowd = 100
	var cs []contender
	for _, r := range runtimes {
		cs = append(cs, contender{name: r.name, do: func(round int) error {
			results := make(chan error, crowd)
			for i := range crowd {
				go func() { results <- command(ctx, r.path, "run", "-b", bundle, fmt.Sprintf("bench-%s-%d", r.name, i)) }()
			}
			var err error
			for range crowd {
				err = errors.Join(err, <-results)
			}
			return err
		}})
	}
	b.add(table{Row: "oci", Title: "OCI runtimes: run, 100 at once", Unit: "ms", Ref: "crun", Results: b.race(ctx, 0, b.crowds, cs),
		Bars: []bar{{Name: "berth-runtime", Of: "runc", Limit: 0.5}}})
	return nil
}

// peak runs a command under busybox's time: a child's peak begins with its parent's size at the fork, and busybox's is
// small. It has the biggest of the command's processes, all of which it waits for.
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

// derive makes the bundle to of the bundle from, with another configuration.
func derive(from, to string, edit func(spec map[string]any)) error {
	data, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	edit(spec)
	out, err := json.Marshal(spec)
	return errors.Join(err, os.MkdirAll(to, 0o755), os.WriteFile(filepath.Join(to, "config.json"), out, 0o644))
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
	for to, args := range map[string][]string{dir: {"/bin/true"}, dir + "-sleep": {"/bin/sleep", "1000"}} {
		err := derive(dir, to, func(spec map[string]any) {
			if process, ok := spec["process"].(map[string]any); ok {
				process["terminal"], process["args"] = false, args
			}
			if linux, ok := spec["linux"].(map[string]any); ok {
				delete(linux, "resources") // a box has no controllers
			}
			spec["root"] = map[string]any{"path": rootfs}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestNames(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	a := h.ok("run", "-d", "--name", "one", busybox, "sleep", "1000")
	b := h.ok("create", "--name", "two", busybox, "true")
	for _, verb := range []string{"run", "create"} {
		h.refuse(125, []string{"one", "in use"}, verb, "--name", "one", busybox, "true")
	}
	h.refuse(125, []string{"in use"}, "rename", "two", "one")
	h.refuse(125, []string{"bad/name"}, "rename", "two", "bad/name")

	// Renamed while it runs: its unit keeps its name, everything else answers by the new one.
	h.want(0, "", "rename", "one", "uno")
	h.isState("uno", "running")
	h.refuse(125, []string{"one"}, "inspect", "one")
	h.want(0, "hi\n", "exec", "uno", "echo", "hi")
	h.killShim(h.ok("inspect", "--format", "{{.Unit}}", "uno"))
	h.want(0, "hi\n", "exec", "uno", "echo", "hi")
	h.want(0, "uno\n", "restart", "-t", "0", "uno")
	if got := h.ok("inspect", "--format", "{{.Unit}}", "uno"); got != "berth-uno.service" {
		h.Errorf("after a rename and a restart it runs as %s", got)
	}
	c := h.ok("create", "--name", "one", busybox, "true") // the name is free again
	h.ok("start", "one")

	for _, prefix := range []string{a, a[:12], uniquePrefix(a, b, c)} {
		h.want(0, a+"\n", "inspect", "--format", "{{.Id}}", prefix)
	}
	if p := commonPrefix(a, b, c); p != "" {
		h.refuse(125, []string{"more than one"}, "inspect", p)
	}
	h.want(0, c+"\n", "inspect", "--format", "{{.Id}}", "-l")
	h.want(0, "one\n", "ps", "-l", "--format", "{{.Names}}")
	if got := strings.Fields(h.ok("ps", "-aq", "--no-trunc")); !slices.Contains(got, a) || len(got) != 3 {
		h.Errorf("ps -aq --no-trunc: %q", got)
	}
	h.refuse(2, []string{"uno", "running", "--force"}, "rm", "uno")
	h.refuse(1, []string{"nobody-here"}, "rm", "nobody-here")
	h.isState("uno", "running")
	h.berth("rm", "-f", "-t", "0", "uno", "two", "one")
	h.nothingLeft()
	h.want(0, "", "rm", "-f", "nobody-here")
	h.want(0, "", "rm", "-fa")
}

// uniquePrefix is as much of the first ID as it takes.
func uniquePrefix(id string, others ...string) string {
	for n := 3; ; n++ {
		if !slices.ContainsFunc(others, func(o string) bool { return strings.HasPrefix(o, id[:n]) }) {
			return id[:n]
		}
	}
}

// commonPrefix is one that two of the IDs have; it may not exist.
func commonPrefix(ids ...string) string {
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id[:1]] {
			return id[:1]
		}
		seen[id[:1]] = true
	}
	return ""
}

func TestReplace(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	a := h.ok("run", "-d", "--name", "same", "--stop-timeout", "0", busybox, "sleep", "1000")
	b := h.ok("run", "-d", "--name", "same", "--replace", busybox, "sleep", "1000")
	if a == b || h.ok("ps", "-aq", "--no-trunc") != b {
		h.Errorf("replaced %s by %s, ps has %s", a, b, h.ok("ps", "-aq", "--no-trunc"))
	}
	h.want(0, "same\n", "rm", "-f", "-t", "0", "same")
	h.nothingLeft()
}

// Several clients want one name: one gets it, the others are told.
func TestRaceForOneName(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for range 5 {
		var clients []*command
		for range 6 {
			clients = append(clients, h.start(nil, "berth", "run", "-d", "--name", "prize", busybox, "sleep", "1000"))
		}
		won := 0
		for _, c := range clients {
			if r := c.end(); r.code == 0 {
				won++
			} else {
				h.refused(r, 125, "prize", "in use")
			}
		}
		if won != 1 {
			h.Errorf("%d of 6 clients have the name", won)
		}
		h.isState("prize", "running")
		h.want(0, "prize\n", "rm", "-f", "-t", "0", "prize")
		h.nothingLeft()
	}
}

// Several clients start one container.
func TestRaceForOneStart(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	h.ok("create", "--name", "prize", "--pid", "host", busybox, "sleep", "4444")
	for range 5 {
		var clients []*command
		for range 6 {
			clients = append(clients, h.start(nil, "berth", "start", "prize"))
		}
		started := 0
		for _, c := range clients {
			if r := c.end(); r.code == 0 {
				started++
			} else {
				h.refused(r, 125, "prize")
			}
		}
		if started == 0 {
			h.Error("nobody started it")
		}
		h.isState("prize", "running")
		if got := h.sh("pgrep -fc 'sleep 4444$'").stdout; got != "1\n" {
			h.Errorf("%s processes run instead of one", strings.TrimSpace(got))
		}
		h.want(0, "prize\n", "stop", "-t", "0", "prize")
	}
}

func TestManyAtOnce(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	const n = 20
	var wg sync.WaitGroup
	results := make([]result, n)
	for i := range n {
		c := h.start(nil, "berth", "run", "--name", fmt.Sprintf("n%d", i), busybox, "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))
		wg.Go(func() { results[i] = c.end() })
	}
	wg.Wait()
	for i, r := range results {
		if r.code != i || r.stdout != fmt.Sprintf("%d\n", i) {
			h.Errorf("%v\nwant %d", r, i)
		}
	}
	if got := len(strings.Fields(h.ok("ps", "-aq"))); got != n {
		h.Errorf("ps -aq has %d", got)
	}
	for i := range n {
		h.want(0, fmt.Sprintf("%d\n", i), "wait", fmt.Sprintf("n%d", i))
	}
	var clients []*command
	for i := range n {
		clients = append(clients, h.start(nil, "berth", "start", fmt.Sprintf("n%d", i)))
	}
	for _, c := range clients {
		if r := c.end(); r.code != 0 {
			h.Error(r)
		}
	}
	removed := strings.Fields(h.ok("rm", "-fa", "-t", "0"))
	if len(removed) != n {
		h.Errorf("rm -fa prints %d names", len(removed))
	}
	h.nothingLeft()
}

// Verbs in a hurry against each other: whatever each says, in the end there is nothing.
func TestVerbsAtOnce(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	for range 5 {
		h.ok("run", "-d", "--name", "torn", "--stop-timeout", "0", busybox, "sleep", "1000")
		var clients []*command
		for _, verb := range []string{"stop", "kill", "restart", "rename", "rm", "exec", "logs", "inspect"} {
			args := []string{verb, "torn"}
			switch verb {
			case "rename":
				args = append(args, "worn")
			case "rm":
				args = []string{"rm", "-f", "torn"}
			case "exec":
				args = append(args, "true")
			}
			clients = append(clients, h.start(nil, "berth", args...))
		}
		for _, c := range clients {
			r := c.end()
			// Of an exec its runtime may say something too, on the command's stderr, before the container is known to be gone.
			n := strings.Count(r.stderr, "\n") - strings.Count(r.stderr, "berth-runtime: ")
			if n > 1 || strings.Contains(r.stderr, "panic") {
				h.Error(r)
			}
		}
		if r := h.berth("rm", "-fa", "-t", "0"); r.code != 0 {
			h.Error(r)
		}
		h.nothingLeft()
	}
}

// A verb that is given several containers does them at once, over one
// connection to systemd.
func TestVerbOnSeveral(t *testing.T) {
	h := product(t)
	h.pull(busybox)
	var names []string
	for i := range 12 { // more than are done at once
		names = append(names, fmt.Sprintf("many%d", i))
		h.ok("create", "--name", names[i], busybox, "sleep", "1000")
	}
	all := strings.Join(names, "\n") + "\n"
	each := func(verb ...string) { h.want(0, all, append(verb, names...)...) }
	each("start")
	each("start") // they run
	each("restart", "-t", "0")
	each("kill")
	h.want(0, strings.Repeat("137\n", len(names)), append([]string{"wait"}, names...)...)
	each("start")
	each("stop", "-t", "0")
	h.want(0, "many0\nmany0\n", "start", "many0", "many0")
	each("rm", "-f", "-t", "0")
	h.nothingLeft()
}

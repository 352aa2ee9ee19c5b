package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pss is the proportional set size of all processes of a name, in kB: what they would free, shared pages split.
func pss(comms ...string) map[string]int {
	total := map[string]int{}
	for _, dir := range processes(comms...) {
		data, err := os.ReadFile(filepath.Join(dir.path, "smaps_rollup"))
		if err != nil { // it has just ended
			continue
		}
		for line := range strings.Lines(string(data)) {
			if v, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
				total[dir.comm] += n
			}
		}
	}
	return total
}

func count(comm string) int { return len(processes(comm)) }

type process struct{ path, comm string }

func processes(comms ...string) []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []process
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "comm"))
		if comm := strings.TrimSpace(string(data)); err == nil && slices.Contains(comms, comm) {
			found = append(found, process{dir, comm})
		}
	}
	return found
}

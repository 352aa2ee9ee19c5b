package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/logs"
)

// TestMain is several programs: the tests, the supervisor itself, and a
// process that drains a pipe until it is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("SHIM_TEST") {
	case "shim":
		os.Exit(runShim())
	case "drain":
		os.Exit(runDrain())
	}
	before := countFDs()
	code := m.Run()
	for range 100 { // the poller's closes come a little later
		if countFDs() <= before {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "descriptors: %d before the tests, %d after\n", before, countFDs())
	os.Exit(1)
}

func countFDs() int {
	if r, w, err := os.Pipe(); err == nil { // makes the poller's own
		r.Close()
		w.Close()
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// runShim is the supervisor as its command has it. LISTEN_PID cannot be known
// before the process is.
func runShim() int {
	if os.Getenv("LISTEN_FDS") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	code, err := Run(Config{Root: os.Getenv("SHIM_ROOT"), Run: os.Getenv("SHIM_RUN"), Container: os.Args[1]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// runDrain takes two pipes, descriptors 3 and 4, to a log until both end.
func runDrain() int {
	dir := os.Args[1]
	sink, err := logs.Open(logs.Config{Driver: logs.K8sFile, Path: filepath.Join(dir, "log")})
	if err != nil {
		return 2
	}
	r, err := openRecorder(sink, filepath.Join(dir, "note"))
	if err != nil {
		return 2
	}
	streams := map[logs.Stream]*stream{}
	for i, id := range []logs.Stream{logs.Stdout, logs.Stderr} {
		fd := 3 + i
		unix.SetNonblock(fd, true)
		st, err := openStream(id, os.NewFile(uintptr(fd), "pipe"), filepath.Join(dir, id.String()))
		if err != nil {
			return 2
		}
		streams[id] = st
	}
	if err := r.recover(streams); err != nil {
		return 3
	}
	done := make(chan error)
	for _, st := range streams {
		go func() { done <- st.pump(r) }()
	}
	for range streams {
		if err := <-done; err != nil {
			return 4
		}
	}
	return 0
}

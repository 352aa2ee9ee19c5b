package shim

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/unit/journal"
)

// A supervisor's standard output and error are /dev/null: a stream to the
// journal costs each start a connection, an entry in journald's store of
// descriptors and a process of systemd's to close it, some 2 ms in all. What is
// to be read after a failed start, or after a crash of the supervisor itself,
// goes to the journal from here.

const crashFile = "crash" // in the run's directory: what the Go runtime said at its end

// units are the names that a container's units have, by either door.
func units(r *container.Record) []string {
	return []string{"berth-" + r.Name + ".service", "container@" + r.Name + ".service"}
}

// Report writes an error message to the journal, as one of the unit of the
// container r, which may be nil.
func Report(r *container.Record, text string) {
	fields := []journal.Field{
		{Name: "MESSAGE", Value: []byte(text)},
		{Name: "PRIORITY", Value: []byte("3")},
		{Name: "SYSLOG_IDENTIFIER", Value: []byte("berth-shim")},
	}
	if r != nil {
		fields = append(fields, journal.Field{Name: "CONTAINER_NAME", Value: []byte(r.Name)})
		// journald may come to this entry when its sender is gone.
		for _, u := range units(r) {
			fields = append(fields, journal.Field{Name: "OBJECT_SYSTEMD_UNIT", Value: []byte(u)})
		}
	}
	_ = journal.Note(fields...)
}

// keepCrash has the Go runtime write to the run's directory what it has to say
// of a panic, for the next supervisor to report.
func (s *shim) keepCrash() {
	f, err := os.OpenFile(filepath.Join(s.dir, crashFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return // nothing but the report depends on it
	}
	defer f.Close()
	_ = debug.SetCrashOutput(f, debug.CrashOptions{})
}

// maxCrash is how much of a crash goes to the journal: all threads' stacks
// begin with the one that matters.
const maxCrash = 32 << 10

// reportCrash reports what an earlier supervisor of r left in the run's
// directory.
func reportCrash(r *container.Record, dir string) {
	path := filepath.Join(dir, crashFile)
	text, err := os.ReadFile(path)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return
	}
	_ = os.Truncate(path, 0)
	Report(r, "the supervisor crashed: "+string(bytes.TrimSpace(text[:min(len(text), maxCrash)])))
}

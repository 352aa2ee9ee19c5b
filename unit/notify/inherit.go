package notify

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstFD is where inherited descriptors begin (SD_LISTEN_FDS_START).
const firstFD = 3

// variables are what the manager tells a service through its environment, and
// what no process of the service may inherit in turn.
var variables = []string{
	"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES",
	"WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "MAINPID", "MAINPIDFDID", "MANAGERPID",
	"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
}

// Inherited is what a service is started with. The environment variables that
// said so are gone.
type Inherited struct {
	Files        []*os.File // close-on-exec; Name is the descriptor's name
	Notify       string     // address for a Manager; empty: none listens
	InvocationID string
	Watchdog     time.Duration // 0: none is expected to be fed
	StoreMax     int           // of the descriptor store; systemd ≥ 254 says so
}

// Named are the files of that name.
func (in *Inherited) Named(name string) []*os.File {
	var files []*os.File
	for _, f := range in.Files {
		if f.Name() == name {
			files = append(files, f)
		}
	}
	return files
}

// Inherit takes over what the manager handed to this process, and clears the
// environment of it. It can be called once.
func Inherit() (*Inherited, error) {
	in, n, names, err := parse(os.Getenv, os.Getpid())
	for _, v := range variables {
		os.Unsetenv(v)
	}
	if err != nil {
		return nil, fmt.Errorf("inherit from systemd: %w", err)
	}
	for i := range n {
		unix.CloseOnExec(firstFD + i)
		in.Files = append(in.Files, os.NewFile(uintptr(firstFD+i), names[i]))
	}
	return in, nil
}

// parse reads the variables. They are somebody else's if they carry another
// process's number.
func parse(getenv func(string) string, pid int) (in *Inherited, n int, names []string, err error) {
	in = &Inherited{Notify: getenv("NOTIFY_SOCKET"), InvocationID: getenv("INVOCATION_ID")}
	mine := func(v string) bool { return v == strconv.Itoa(pid) }
	if s := getenv("FDSTORE"); s != "" {
		if in.StoreMax, err = count(s); err != nil {
			return nil, 0, nil, fmt.Errorf("FDSTORE=%q", s)
		}
	}
	if s := getenv("WATCHDOG_USEC"); s != "" && (getenv("WATCHDOG_PID") == "" || mine(getenv("WATCHDOG_PID"))) {
		us, err := strconv.ParseInt(s, 10, 64)
		if err != nil || us < 0 || us > int64(time.Duration(1<<63-1)/time.Microsecond) {
			return nil, 0, nil, fmt.Errorf("WATCHDOG_USEC=%q", s)
		}
		in.Watchdog = time.Duration(us) * time.Microsecond
	}
	s := getenv("LISTEN_FDS")
	if s == "" || !mine(getenv("LISTEN_PID")) {
		return in, 0, nil, nil
	}
	if n, err = count(s); err != nil {
		return nil, 0, nil, fmt.Errorf("LISTEN_FDS=%q", s)
	}
	if n == 0 {
		return in, 0, nil, nil
	}
	names = strings.Split(getenv("LISTEN_FDNAMES"), ":")
	if len(names) != n {
		return nil, 0, nil, fmt.Errorf("%d descriptors, %d names", n, len(names))
	}
	return in, n, names, nil
}

// maxFDs bounds a number of descriptors; the manager's own bound is lower.
const maxFDs = 1 << 20

func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxFDs {
		return 0, errors.New("not a count")
	}
	return n, nil
}

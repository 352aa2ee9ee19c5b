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
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

// verb is one of the command line's verbs, with the arguments after its name.
type verb func(context.Context, *global, []string) error

// verbNamed finds a verb, nil if there is none of this name. A switch, since a
// map would be made at every start.
func verbNamed(name string) verb {
	switch name {
	case "create":
		return create
	case "start":
		return start
	case "run":
		return runContainer
	case "exec":
		return execProcess
	case "state":
		return state
	case "list":
		return list
	case "kill":
		return kill
	case "delete":
		return remove
	case "spec":
		return spec
	case "ps":
		return ps
	case "pause":
		return pause
	case "resume":
		return resume
	case "update":
		return update
	case "events":
		return events
	case "features":
		return showFeatures
	}
	return wholeVerb(name)
}

// number makes a flag's function of an int.
func number(p *int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number", v)
		}
		*p = n
		return nil
	}
}

// oneID is the one argument of most verbs.
func oneID(args []string) (string, error) {
	if len(args) != 1 {
		return "", usageError{fmt.Errorf("requires exactly 1 argument, the container's ID, got %d", len(args))}
	}
	return args[0], nil
}

// createFlags are the flags that create and run share.
func createFlags(f *flagSet) (bundle *string, opt *runtime.CreateOptions) {
	bundle, opt = new(string), new(runtime.CreateOptions)
	*bundle = "."
	f.str(bundle, "bundle", "b")
	f.str(&opt.PidFile, "pid-file")
	f.str(&opt.ConsoleSocket, "console-socket")
	f.str(&opt.PidfdSocket, "pidfd-socket")
	f.fn(number(&opt.PreserveFDs), "preserve-fds")
	f.flag(&opt.NoPivot, "no-pivot")
	f.flag(&opt.NoNewKeyring, "no-new-keyring")
	// For berth-shim: the cgroup is a leaf of its unit, which has the limits.
	f.flag(&opt.Delegated, "delegated")
	return bundle, opt
}

// surroundings completes the options of create and run by what the caller's
// environment says: descriptors of socket activation, a service manager that
// waits for readiness, systemd as the maker of cgroups.
func (g *global) surroundings(opt *runtime.CreateOptions) error {
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) {
		n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
		if err == nil && n > 0 {
			opt.ListenFDs = n
		}
	}
	opt.Notify = os.Getenv("NOTIFY_SOCKET") != ""
	if g.systemd {
		return placeBySystemd(opt)
	}
	return nil
}

func create(ctx context.Context, g *global, args []string) error {
	f := newFlags()
	bundle, opt := createFlags(f)
	startFD, rootFD := -1, -1
	f.fn(number(&startFD), "start-fd")
	f.fn(number(&rootFD), "root-fd")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	if err := g.surroundings(opt); err != nil {
		return err
	}
	// Not for the container, nor for hooks.
	if startFD >= 0 {
		unix.CloseOnExec(startFD)
	}
	if rootFD >= 0 {
		unix.CloseOnExec(rootFD)
		opt.Root = os.NewFile(uintptr(rootFD), "root")
	}
	c, err := runtime.Create(ctx, g.root, id, *bundle, opt)
	if err != nil || startFD < 0 {
		return err
	}
	return startWhenTold(ctx, c, startFD)
}

// startWhenTold is the other half of create --start-fd: it says that the
// container is created, starts it at the answer, and says that it did: the end
// of this process, which takes a mount namespace with it, comes a millisecond
// later. The end of the connection leaves the container as it is, for the verb
// start.
func startWhenTold(ctx context.Context, c *runtime.Container, fd int) error {
	word := []byte{1}
	if _, err := unix.Write(fd, word); err != nil {
		return nil //nolint:nilerr // whoever would have answered is gone
	}
	for {
		n, err := unix.Read(fd, word)
		switch {
		case err == unix.EINTR:
		case n == 1:
			if err := c.Start(ctx); err != nil {
				return err
			}
			unix.Write(fd, word) //nolint:errcheck // the exit status says it too
			return nil
		default:
			return nil
		}
	}
}

func start(ctx context.Context, g *global, args []string) error {
	c, err := open(g, args)
	if err != nil {
		return err
	}
	notify := -1
	if os.Getenv("NOTIFY_SOCKET") != "" {
		if notify, err = c.ListenNotify(); err != nil {
			return err
		}
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	return untilReady(c, notify, c.Pid())
}

func open(g *global, args []string) (*runtime.Container, error) {
	args, err := newFlags().parseAll(args)
	if err != nil {
		return nil, err
	}
	id, err := oneID(args)
	if err != nil {
		return nil, err
	}
	return runtime.Open(g.root, id)
}

func runContainer(ctx context.Context, g *global, args []string) error {
	f := newFlags()
	bundle, opt := createFlags(f)
	var keep bool
	f.flag(&opt.Detach, "detach", "d")
	f.flag(&keep, "keep")
	f.flag(new(bool), "no-subreaper")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	if err := g.surroundings(opt); err != nil {
		return err
	}
	c, child, err := runtime.Run(ctx, g.root, id, *bundle, opt)
	if err != nil {
		return err
	}
	if opt.Detach {
		return untilReady(c, child.Notify, child.Pid)
	}
	waited := func() {}
	if child.Notify >= 0 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			// The manager's main process is this one: it stays.
			untilReady(c, child.Notify, os.Getpid()) //nolint:errcheck // the container runs all the same
		}()
		waited = func() { <-done }
	}
	status, err := attend(child)
	waited()
	if !keep {
		var warning *runtime.WarningError
		if e := deleteContainer(ctx, c, true); errors.As(e, &warning) {
			g.report("warning", e)
		} else if e != nil && err == nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	return exitStatus(status)
}

// row is a container's state as runc prints it: the specification's, and what
// engines read besides.
type row struct {
	Version     string               `json:"ociVersion"`
	ID          string               `json:"id"`
	Pid         int                  `json:"pid"`
	Status      specs.ContainerState `json:"status"`
	Bundle      string               `json:"bundle"`
	Rootfs      string               `json:"rootfs"`
	Created     time.Time            `json:"created"`
	Annotations map[string]string    `json:"annotations,omitempty"`
	Owner       string               `json:"owner"`
}

func rowOf(c *runtime.Container, owner string) row {
	s := c.State()
	return row{s.Version, s.ID, s.Pid, s.Status, s.Bundle, c.Rootfs(), c.Created(), s.Annotations, owner}
}

func state(_ context.Context, g *global, args []string) error {
	c, err := open(g, args)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(rowOf(c, ""), "", "  ")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}

func list(_ context.Context, g *global, args []string) error {
	format, quiet := "table", false
	f := newFlags()
	f.str(&format, "format", "f")
	f.flag(&quiet, "quiet", "q")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return usageError{errors.New("takes no arguments")}
	}
	all, err := runtime.List(g.root)
	if err != nil {
		return err
	}
	rows := make([]row, 0, len(all))
	for _, c := range all {
		rows = append(rows, rowOf(c, ownerOf(filepath.Join(g.root, c.ID()))))
	}
	switch {
	case quiet:
		for i := range rows {
			fmt.Println(rows[i].ID)
		}
	case format == "json":
		return json.NewEncoder(os.Stdout).Encode(rows)
	case format == "table":
		w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for i := range rows {
			r := &rows[i]
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.Pid, r.Status, r.Bundle, r.Created.Format(time.RFC3339Nano), r.Owner)
		}
		return w.Flush()
	default:
		return fmt.Errorf("invalid format option %q", format)
	}
	return nil
}

// ownerOf is the name of who owns a directory, or #UID of one without a name.
func ownerOf(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return ""
	}
	uid := strconv.FormatUint(uint64(st.Uid), 10)
	passwd, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(passwd)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == uid {
			return f[0]
		}
	}
	return "#" + uid
}

func kill(_ context.Context, g *global, args []string) error {
	f := newFlags()
	var all bool
	f.flag(&all, "all", "a")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	if len(args) == 0 || len(args) > 2 {
		return usageError{errors.New("requires a container's ID and at most one signal")}
	}
	name := "SIGTERM"
	if len(args) == 2 {
		name = args[1]
	}
	sig, err := signalNumber(name)
	if err != nil {
		return err
	}
	c, err := runtime.Open(g.root, args[0])
	if err != nil {
		return err
	}
	if all {
		return c.KillAll(sig)
	}
	return c.Kill(sig)
}

// signalNumber reads a signal's number, or its name with or without SIG.
func signalNumber(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 { // 0 asks whether there is somebody
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	for base, from := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		if off, ok := strings.CutPrefix(name, base); ok {
			n := 0
			if off != "" {
				var err error
				if n, err = strconv.Atoi(off); err != nil {
					break
				}
			}
			if from+n >= 34 && from+n <= 64 {
				return unix.Signal(from + n), nil
			}
		}
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func remove(ctx context.Context, g *global, args []string) error {
	f := newFlags()
	var force bool
	f.flag(&force, "force", "f")
	args, err := f.parseAll(args)
	if err != nil {
		return err
	}
	id, err := oneID(args)
	if err != nil {
		return err
	}
	c, err := runtime.Open(g.root, id)
	if err != nil {
		// A record that cannot be read keeps nobody from getting rid of it.
		if force && !errors.Is(err, runtime.ErrInvalidID) {
			return runtime.Forget(g.root, id)
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return deleteContainer(ctx, c, force)
}

// deleteContainer deletes a container, and the unit that was made for it.
func deleteContainer(ctx context.Context, c *runtime.Container, force bool) error {
	if c.Unit() != "" && !whole {
		return becomeWhole()
	}
	if err := c.Delete(ctx, force); err != nil {
		return err
	}
	if c.Unit() != "" {
		return stopUnit(ctx, c.Unit())
	}
	return nil
}

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// freezable is a bundle for the OCI runtime alone, in a store of its own.
type freezable struct {
	*testing.T
	dir string // the bundle; images and the rest are below
	id  string
	out *os.File // the containers' standard output, a pipe
	in  *os.File
}

// newFreezable makes a bundle whose container runs the script.
func newFreezable(t *testing.T, edit func(config map[string]any), script string) *freezable {
	t.Helper()
	if l := Product(t); !l.VM {
		t.Skip("needs a kernel that CRIU works on: a VM")
	}
	if out, err := exec.Command("criu", "check").CombinedOutput(); err != nil {
		t.Fatalf("criu check: %v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("/var/lib", "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezable{T: t, dir: dir, id: strings.ToLower(t.Name())}
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "vol", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/vol", 0o755); err != nil {
		t.Fatal(err)
	}
	bb, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/rootfs/bin/busybox", bb, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "sleep", "nc", "echo", "ps", "head", "tail", "readlink", "ip", "true", "wc", "tr"} {
		if err := os.Symlink("busybox", dir+"/rootfs/bin/"+name); err != nil {
			t.Fatal(err)
		}
	}
	f.config(edit, script)
	f.pipe()
	t.Cleanup(func() {
		f.run("delete", "--force", f.id)
		f.in.Close()
		f.out.Close()
		if left, _ := os.ReadDir(dir + "/store"); len(left) > 0 {
			t.Errorf("left in the store: %v", left)
		}
		if _, err := os.Stat("/sys/fs/cgroup/checkpoint/" + f.id); err == nil {
			t.Error("left the cgroup")
		}
		if b, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(b), dir) {
			t.Errorf("left mounts:\n%s", b)
		}
		os.RemoveAll(dir)
	})
	return f
}

// config writes the configuration.
func (f *freezable) config(edit func(map[string]any), script string) {
	f.Helper()
	os.Remove(f.dir + "/config.json") //nolint:errcheck // spec says it
	f.runIn(f.dir, "spec")
	b, err := os.ReadFile(f.dir + "/config.json")
	if err != nil {
		f.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		f.Fatal(err)
	}
	p := c["process"].(map[string]any)
	p["terminal"] = false
	p["args"] = []string{"sh", "-c", script}
	c["root"] = map[string]any{"path": "rootfs"}
	c["mounts"] = append(c["mounts"].([]any), map[string]any{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
		map[string]any{"destination": "/vol", "type": "bind", "source": f.dir + "/vol", "options": []string{"rbind", "rw"}})
	c["linux"].(map[string]any)["cgroupsPath"] = "/checkpoint/" + f.id
	if edit != nil {
		edit(c)
	}
	if b, err = json.Marshal(c); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(f.dir+"/config.json", b, 0o644); err != nil {
		f.Fatal(err)
	}
}

// pipe gives the next container a new pipe for its output.
func (f *freezable) pipe() {
	f.Helper()
	if f.in != nil {
		f.in.Close()
		f.out.Close()
	}
	var err error
	if f.in, f.out, err = os.Pipe(); err != nil {
		f.Fatal(err)
	}
}

func (f *freezable) run(args ...string) (string, int) { return f.runIn("/", args...) }

func (f *freezable) runIn(dir string, args ...string) (string, int) {
	f.Helper()
	log, err := os.CreateTemp(f.dir, "log")
	if err != nil {
		f.Fatal(err)
	}
	defer log.Close()
	argv := []string{"--root", f.dir + "/store"}
	cmd := exec.Command("/usr/libexec/berth/berth-runtime")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	switch args[0] {
	case "run", "create", "restore":
		// The container's are pipes: CRIU cannot name a file of the host's.
		cmd.Stdout, cmd.Stderr = f.out, f.out
		argv = append(argv, "--log", log.Name())
	}
	cmd.Args = append(append(cmd.Args, argv...), args...)
	timer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.Fatal(err)
	}
	b, _ := os.ReadFile(log.Name())
	return string(b), cmd.ProcessState.ExitCode()
}

func (f *freezable) must(args ...string) string {
	f.Helper()
	out, status := f.run(args...)
	if status != 0 {
		for _, log := range []string{"dump.log", "restore.log"} {
			found, _ := filepath.Glob(f.dir + "/*/" + log)
			for _, p := range found {
				tail, _ := exec.Command("tail", "-n", "15", p).CombinedOutput()
				f.Logf("%s:\n%s", p, tail)
			}
		}
		f.Fatalf("%s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

func (f *freezable) fails(why string, args ...string) {
	f.Helper()
	if out, status := f.run(args...); status == 0 || !strings.Contains(out, why) {
		f.Errorf("%s: status %d\n%swant %q", strings.Join(args, " "), status, out, why)
	}
}

// number is the last number in a file of the container.
func (f *freezable) number(path string) int {
	f.Helper()
	out, _ := f.run("exec", f.id, "tail", "-n1", path) // it may not be there yet
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	return n
}

// grows waits until the number in a file is above n, and returns it.
func (f *freezable) grows(path string, n int) int {
	f.Helper()
	for range 200 {
		if m := f.number(path); m > n {
			return m
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.Fatalf("%s stays at %d", path, n)
	return 0
}

func (f *freezable) state() (st struct {
	Status string
	Pid    int
}) {
	f.Helper()
	if err := json.Unmarshal([]byte(f.must("state", f.id)), &st); err != nil {
		f.Fatal(err)
	}
	return st
}

// counting has state of every kind: a number in memory, a file on a tmpfs, an
// open file on a volume, a pipe between two processes, the standard output.
const counting = `exec 5>/vol/open
(while :; do echo tick; sleep 0.1; done) | (n=0; while read x; do n=$((n+1)); echo $n >/tmp/piped; done) &
i=0; while :; do i=$((i+1)); echo $i >/tmp/count; echo line $i; echo $i >&5; sleep 0.1; done`

// began starts a counting container and waits until it counts.
func (f *freezable) began() {
	f.Helper()
	f.must("run", "-d", "--bundle", f.dir, f.id)
	f.grows("/tmp/count", 3)
	f.grows("/tmp/piped", 3)
}

// goesOn makes sure that what runs is the container that it was at n.
func (f *freezable) goesOn(n, piped int) {
	f.Helper()
	if m := f.grows("/tmp/count", n); m < n || m > n+600 {
		f.Errorf("the count went from %d to %d", n, m)
	}
	f.grows("/tmp/piped", piped)
	open, err := os.ReadFile(f.dir + "/vol/open")
	lines := strings.Fields(string(open))
	if err != nil || len(lines) < n || lines[0] != "1" || lines[n-1] != strconv.Itoa(n) {
		f.Errorf("the open file has lost lines: %d of %d, %v", len(lines), n, err)
	}
	buf := make([]byte, 65536)
	k, err := f.in.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:k]), "line ") {
		f.Errorf("read from the container: %q, %v", buf[:k], err)
	}
	if st := f.state(); st.Status != "running" || st.Pid <= 0 {
		f.Errorf("%+v", st)
	}
}

func TestCheckpointRestore(t *testing.T) {
	f := newFreezable(t, nil, counting)
	image := f.dir + "/image"
	f.began()
	n, piped := f.grows("/tmp/count", 0), f.grows("/tmp/piped", 0)
	f.must("checkpoint", "--image-path", image, "--work-path", f.dir+"/work", f.id)
	if _, err := os.Stat(f.dir + "/work/dump.log"); err != nil {
		t.Error(err)
	}
	f.fails("does not exist", "state", f.id)
	var fds []string
	if b, err := os.ReadFile(image + "/descriptors.json"); err != nil || json.Unmarshal(b, &fds) != nil || len(fds) != 3 || !strings.HasPrefix(fds[1], "pipe:") {
		t.Errorf("descriptors.json: %s %v", b, err)
	}
	f.pipe() // the old one is not needed any more
	f.must("restore", "-d", "--bundle", f.dir, "--image-path", image, "--pid-file", f.dir+"/pid", f.id)
	f.goesOn(n, piped)
	if b, err := os.ReadFile(f.dir + "/pid"); err != nil || string(b) != strconv.Itoa(f.state().Pid) {
		t.Errorf("the pid file has %q: %v", b, err)
	}
	cg, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", f.state().Pid))
	if !strings.Contains(string(cg), "/checkpoint/"+f.id) {
		t.Errorf("the restored init is in %s", cg)
	}
	for _, path := range []string{"/proc/kcore", "/proc/timer_list"} {
		if out := f.must("exec", f.id, "wc", "-c", path); !strings.HasPrefix(out, "0 ") {
			t.Errorf("%s is not masked any more: %s", path, out)
		}
	}
	// It is a container like any other, and can be frozen once more.
	f.fails("already exists", "restore", "-d", "--bundle", f.dir, "--image-path", image, f.id)
	n, piped = f.grows("/tmp/count", 0), f.grows("/tmp/piped", 0)
	f.must("checkpoint", "--image-path", f.dir+"/again", f.id)
	f.pipe()
	f.must("restore", "-d", "--bundle", f.dir, "--image-path", f.dir+"/again", f.id)
	f.goesOn(n, piped)
	f.must("kill", f.id, "KILL")
}

func TestCheckpointLeavesRunning(t *testing.T) {
	f := newFreezable(t, nil, `i=0; while :; do i=$((i+1)); echo $i >/tmp/count; echo line $i; sleep 0.1; done`)
	f.must("run", "-d", "--bundle", f.dir, f.id)
	f.grows("/tmp/count", 3)
	f.must("checkpoint", "--leave-running", "--image-path", f.dir+"/image", f.id)
	f.grows("/tmp/count", f.grows("/tmp/count", 0)+20)
	f.must("delete", "--force", f.id)
	f.pipe()
	// Back to where it was.
	f.must("restore", "-d", "--bundle", f.dir, "--image-path", f.dir+"/image", f.id)
	if n := f.grows("/tmp/count", 0); n > 20 {
		t.Errorf("the count is %d", n)
	}
	f.must("kill", f.id, "KILL")
}

// The root as an engine has it mounted, and somebody else's ids.
func TestCheckpointRootAndUsers(t *testing.T) {
	for name, edit := range map[string]func(f string, c map[string]any){
		"overlay": func(dir string, c map[string]any) {
			for _, d := range []string{"upper", "work", "merged"} {
				os.Mkdir(dir+"/"+d, 0o755) //nolint:errcheck // the mount says it
			}
			c["root"] = map[string]any{"path": "merged"}
			c["mounts"] = append([]any{map[string]any{"destination": "/", "type": "overlay", "source": "overlay",
				"options": []string{"lowerdir=" + dir + "/rootfs", "upperdir=" + dir + "/upper", "workdir=" + dir + "/work"}}}, c["mounts"].([]any)...)
		},
		"users": func(dir string, c map[string]any) {
			ids := []map[string]any{{"containerID": 0, "hostID": 100000, "size": 65536}}
			l := c["linux"].(map[string]any)
			l["uidMappings"], l["gidMappings"] = ids, ids
			l["namespaces"] = append(l["namespaces"].([]any), map[string]any{"type": "user"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFreezable(t, nil, `cd /; i=0; while :; do i=$((i+1)); echo $i >/tmp/count; echo $i >/kept; sleep 0.1; done`)
			f.id = "checkpoint-" + name
			f.config(func(c map[string]any) { edit(f.dir, c) }, `cd /; i=0; while :; do i=$((i+1)); echo $i >/tmp/count; echo $i >/kept; sleep 0.1; done`)
			if name == "users" {
				if out, err := exec.Command("chown", "-hR", "100000:100000", f.dir+"/rootfs").CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				os.Chmod(f.dir, 0o755) //nolint:errcheck // the start says it
			}
			f.must("run", "-d", "--bundle", f.dir, f.id)
			n := f.grows("/tmp/count", 2)
			f.must("checkpoint", "--image-path", f.dir+"/image", f.id)
			f.pipe()
			f.must("restore", "-d", "--bundle", f.dir, "--image-path", f.dir+"/image", f.id)
			f.grows("/tmp/count", n)
			f.grows("/kept", n)
			if b, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(b), f.dir) {
				t.Errorf("mounted on the host:\n%s", b)
			}
		})
	}
}

// A pre-dump has the memory; the dump that names it as its parent has the rest.
func TestCheckpointInSteps(t *testing.T) {
	f := newFreezable(t, nil, `x=$(head -c 3000000 /dev/zero | tr '\0' x); i=0; while :; do i=$((i+1)); echo $i >/tmp/count; echo line $i; test -e /vol/ask && echo ${#x} >/tmp/size; sleep 0.1; done`)
	f.must("run", "-d", "--bundle", f.dir, f.id)
	n := f.grows("/tmp/count", 2)
	f.must("checkpoint", "--pre-dump", "--image-path", f.dir+"/images/pre", "--work-path", f.dir+"/work1", f.id)
	n = f.grows("/tmp/count", n)
	f.must("checkpoint", "--image-path", f.dir+"/images/last", "--work-path", f.dir+"/work2", "--parent-path", "../pre", f.id)
	size := func(dir string) (n int64) {
		pages, _ := filepath.Glob(dir + "/pages-*.img")
		for _, p := range pages {
			if fi, err := os.Stat(p); err == nil {
				n += fi.Size()
			}
		}
		return n
	}
	if pre, last := size(f.dir+"/images/pre"), size(f.dir+"/images/last"); pre < 3000000 || last > pre/2 {
		t.Errorf("%d bytes of pages at first, then %d", pre, last)
	}
	f.pipe()
	f.must("restore", "-d", "--bundle", f.dir, "--image-path", f.dir+"/images/last", f.id)
	f.grows("/tmp/count", n)
	if err := os.WriteFile(f.dir+"/vol/ask", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := f.grows("/tmp/size", 0); got != 3000000 {
		t.Errorf("the memory has %d bytes of 3000000", got)
	}
	f.fails("relative", "checkpoint", "--parent-path", "/absolute", "--image-path", f.dir+"/images/x", f.id)
}

// runSelf makes the container's program this binary, which runs the test again,
// with something to do in the environment.
func (f *freezable) runSelf(env string) {
	f.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(f.dir+"/rootfs/bin/self", self, 0o755); err != nil {
		f.Fatal(err)
	}
	f.config(func(c map[string]any) {
		p := c["process"].(map[string]any)
		p["args"] = []string{"/bin/self", "-test.run", "^" + f.Name() + "$"}
		p["env"] = []string{env, "GODEBUG=multipathtcp=0"} // CRIU knows plain TCP
	}, "")
}

// A connection, both of whose ends are in the container, goes on.
func TestCheckpointTCP(t *testing.T) {
	if os.Getenv("BERTH_TALK") != "" {
		talk(t)
		return
	}
	f := newFreezable(t, nil, "")
	f.runSelf("BERTH_TALK=1")
	f.must("run", "-d", "--bundle", f.dir, f.id)
	f.grows("/tmp/count", 3)
	f.fails("--tcp-established", "checkpoint", "--image-path", f.dir+"/refused", f.id)
	n := f.grows("/tmp/count", f.grows("/tmp/count", 0))
	f.must("checkpoint", "--tcp-established", "--image-path", f.dir+"/image", f.id)
	f.pipe()
	f.must("restore", "-d", "--tcp-established", "--bundle", f.dir, "--image-path", f.dir+"/image", f.id)
	f.grows("/tmp/count", n)
}

// talk counts what comes over a connection to itself, and ends if it is not
// what was sent.
func talk(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := net.Dial("tcp", "127.0.0.1:7000")
		for n := 1; err == nil; n++ {
			_, err = fmt.Fprintln(c, n)
			time.Sleep(100 * time.Millisecond)
		}
		panic(err)
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	sc := bufio.NewScanner(c)
	for n := 1; sc.Scan(); n++ {
		if sc.Text() != strconv.Itoa(n) {
			t.Fatalf("got %s, want %d", sc.Text(), n)
		}
		os.WriteFile("/tmp/count", []byte(sc.Text()+"\n"), 0o644) //nolint:errcheck // the test waits for it
	}
	t.Fatal(sc.Err())
}

// A terminal comes back over the console socket.
func TestCheckpointTerminal(t *testing.T) {
	f := newFreezable(t, func(c map[string]any) { c["process"].(map[string]any)["terminal"] = true },
		`i=0; while read x; do i=$((i+1)); echo $i:$x; done`)
	first, socket := f.console()
	f.must("run", "-d", "--console-socket", socket, "--bundle", f.dir, f.id)
	say := func(tty *os.File, line, want string) {
		t.Helper()
		if _, err := tty.WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(got.String(), want) {
			tty.SetReadDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // the read says it
			n, err := tty.Read(buf)
			if err != nil {
				t.Fatalf("got %q, want %q: %v", got.String(), want, err)
			}
			got.Write(buf[:n])
		}
	}
	tty := <-first
	say(tty, "before", "1:before")
	f.must("checkpoint", "--image-path", f.dir+"/image", f.id)
	tty.Close()
	f.fails("console socket", "restore", "-d", "--bundle", f.dir, "--image-path", f.dir+"/image", f.id)
	second, socket := f.console()
	f.must("restore", "-d", "--console-socket", socket, "--bundle", f.dir, "--image-path", f.dir+"/image", f.id)
	tty = <-second
	defer tty.Close()
	say(tty, "after", "2:after")
}

// console listens at a console socket for one terminal.
func (f *freezable) console() (<-chan *os.File, string) {
	f.Helper()
	dir, err := os.MkdirTemp(f.dir, "tty")
	if err != nil {
		f.Fatal(err)
	}
	path := dir + "/s"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 1)); err != nil {
		f.Fatal(err)
	}
	got := make(chan *os.File, 1)
	go func() {
		defer unix.Close(fd)
		defer close(got)
		c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		defer unix.Close(c)
		buf, ctl := make([]byte, 128), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(c, buf, ctl, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return
		}
		list, _ := unix.ParseSocketControlMessage(ctl[:n])
		for i := range list {
			if fds, err := unix.ParseUnixRights(&list[i]); err == nil && len(fds) == 1 {
				unix.SetNonblock(fds[0], true) //nolint:errcheck // reads would wait longer
				got <- os.NewFile(uintptr(fds[0]), "terminal")
			}
		}
	}()
	return got, path
}

// Locks on files and an emptied network, for what they are.
func TestCheckpointLocksAndEmptyNetwork(t *testing.T) {
	if path := os.Getenv("BERTH_HOLD_LOCK"); path != "" {
		holdLock(t, path)
		return
	}
	f := newFreezable(t, nil, "")
	f.runSelf("BERTH_HOLD_LOCK=/vol/lock")
	f.must("run", "-d", "--bundle", f.dir, f.id)
	n := f.grows("/tmp/count", 2)
	f.fails("criu", "checkpoint", "--image-path", f.dir+"/refused", f.id) // there is a lock
	f.grows("/tmp/count", n)
	f.must("checkpoint", "--file-locks", "--empty-ns", "network", "--image-path", f.dir+"/image", f.id)
	f.pipe()
	f.must("restore", "-d", "--file-locks", "--empty-ns", "network", "--bundle", f.dir, "--image-path", f.dir+"/image", f.id)
	f.grows("/tmp/count", n)
	lock, err := os.Open(f.dir + "/vol/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("the lock is gone: %v", err)
	}
	f.fails("unknown", "checkpoint", "--manage-cgroups-mode", "nonsense", "--image-path", f.dir+"/x", f.id)
	f.fails("not supported", "checkpoint", "--empty-ns", "mount", "--image-path", f.dir+"/x", f.id)
	f.fails("address", "checkpoint", "--page-server", "nonsense", "--image-path", f.dir+"/x", f.id)
}

// holdLock counts, holding a lock, until it is killed.
func holdLock(t *testing.T, path string) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		os.WriteFile("/tmp/count", []byte(strconv.Itoa(n)+"\n"), 0o644) //nolint:errcheck // the test waits for it
		time.Sleep(100 * time.Millisecond)
	}
}

// Pages that stay behind are fetched when they are needed.
func TestCheckpointLazyPages(t *testing.T) {
	f := newFreezable(t, nil, `x=$(head -c 3000000 /dev/zero | tr '\0' x); i=0; while :; do i=$((i+1)); echo $i >/tmp/count; echo ${#x} >/tmp/size; echo line $i; sleep 0.1; done`)
	f.must("run", "-d", "--bundle", f.dir, f.id)
	n := f.grows("/tmp/count", 2)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	image := f.dir + "/image"
	dump := exec.Command("/usr/libexec/berth/berth-runtime", "--root", f.dir+"/store", "checkpoint", "--lazy-pages", "--page-server", "127.0.0.1:27277",
		"--status-fd", "3", "--manage-cgroups-mode", "ignore", "--image-path", image, "--work-path", f.dir+"/work", f.id)
	dump.ExtraFiles = []*os.File{w}
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b, err := readSome(r); err != nil || b != 0 {
		dump.Wait() //nolint:errcheck // the failure is told below
		log, _ := exec.Command("tail", "-n", "20", f.dir+"/work/dump.log").CombinedOutput()
		t.Fatalf("the status descriptor said %d, %v\n%s", b, err, log)
	}
	pages := exec.Command("criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "27277", "-vv", "-D", image, "-W", f.dir+"/work")
	if err := pages.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { pages.Process.Kill(); pages.Wait() }() //nolint:errcheck // it may have ended
	f.pipe()
	// Under another name, as on another machine: the first still serves its pages.
	f.config(func(c map[string]any) { c["linux"].(map[string]any)["cgroupsPath"] = "/checkpoint/" + f.id + "-2" }, "")
	old := f.id
	f.id += "-2"
	f.must("restore", "-d", "--lazy-pages", "--manage-cgroups-mode", "ignore", "--bundle", f.dir, "--image-path", image, "--work-path", f.dir+"/work", f.id)
	f.grows("/tmp/count", n)
	if got := f.grows("/tmp/size", 0); got != 3000000 {
		t.Errorf("the memory has %d bytes of 3000000", got)
	}
	if err := dump.Wait(); err != nil {
		t.Errorf("checkpoint: %v", err)
	}
	f.run("delete", "--force", old)
}

func readSome(r *os.File) (byte, error) {
	r.SetReadDeadline(time.Now().Add(time.Minute)) //nolint:errcheck // the read says it
	b := []byte{255}
	_, err := r.Read(b)
	return b[0], err
}

// What cannot be done is said, and leaves things as they were.
func TestCheckpointRefusals(t *testing.T) {
	f := newFreezable(t, nil, counting)
	image := f.dir + "/image"
	f.fails("does not exist", "checkpoint", "--image-path", image, f.id)
	f.fails("inventory.img", "restore", "-d", "--bundle", f.dir, "--image-path", f.dir+"/nothing", f.id)
	f.must("create", "--bundle", f.dir, f.id)
	f.fails("created", "checkpoint", "--image-path", image, f.id)
	f.must("start", f.id)
	n := f.grows("/tmp/count", 2)
	f.must("checkpoint", "--leave-running", "--image-path", image, f.id)
	f.fails("already exists", "restore", "-d", "--bundle", f.dir, "--image-path", image, f.id)
	f.grows("/tmp/count", n)
	f.must("delete", "--force", f.id)
	// A damaged image.
	if err := os.WriteFile(image+"/pstree.img", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.fails("criu", "restore", "-d", "--bundle", f.dir, "--image-path", image, f.id)
	f.fails("does not exist", "state", f.id)
}

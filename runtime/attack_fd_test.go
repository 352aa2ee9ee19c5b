package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// leaky starts the runtime with descriptors of the host's directories that an
// engine has forgotten to mark close-on-exec.
func leaky(t *testing.T) func(*exec.Cmd) {
	t.Helper()
	var files []*os.File
	for _, p := range slices.Repeat([]string{"/", "/etc/passwd", "/proc/self/ns/mnt", "/sys/fs/cgroup"}, 4) {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return func(c *exec.Cmd) { c.ExtraFiles = files }
}

// TestAttackDescriptors looks in a container for descriptors that lead to the
// host: those of the runtime's own work, of its log, its pid file, its console,
// and those that its caller leaves open (CVE-2024-21626).
//
// Seen to succeed with close_range left out of the program of exec.
func TestAttackDescriptors(t *testing.T) {
	const look = "for f in /proc/self/fd/*; do n=${f##*/}; test $n -gt 2 && readlink $f | grep -v ^/proc/; done; true"
	s := ours(t)
	dir := t.TempDir()
	global := []string{"--log", filepath.Join(dir, "log"), "--log-format", "json", "--debug"}
	with := func(args ...string) result { return s.runWith(t, leaky(t), append(global, args...)...) }
	pidFile := filepath.Join(dir, "pid")

	t.Run("run", func(t *testing.T) {
		with("run", "--bundle", bundle(t, nil, "sh", "-c", look), "--pid-file", pidFile, s.id(t)).want(t, "")
	})
	t.Run("user namespace", func(t *testing.T) {
		b := bundle(t, func(c *specs.Spec) {
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			c.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
			c.Linux.GIDMappings = c.Linux.UIDMappings
		}, "sh", "-c", look)
		giveTree(t, b+"/rootfs", 100000)
		with("run", "--bundle", b, s.id(t)).want(t, "")
	})
	t.Run("exec", func(t *testing.T) {
		id := s.id(t)
		s.must(t, "run", "-d", "--bundle", bundle(t, nil, "sleep", "60"), id)
		with("exec", "--pid-file", pidFile, id, "sh", "-c", look).want(t, "")
	})
	t.Run("create", func(t *testing.T) {
		// The init that waits, as an exec that comes meanwhile sees it.
		id := s.id(t)
		if r := with("create", "--bundle", bundle(t, nil, "sleep", "60"), "--pid-file", pidFile, id); r.status != 0 {
			t.Fatal(r)
		}
		r := s.must(t, "exec", id, "sh", "-c", "for f in /proc/1/fd/*; do n=${f##*/}; test $n -gt 2 && readlink $f; done; readlink /proc/1/root /proc/1/cwd /proc/1/exe; true")
		for line := range strings.Lines(r.out) {
			if line = strings.TrimSpace(line); line != "/" && line != "/bin/busybox" && !strings.HasPrefix(line, "socket:") {
				t.Errorf("the waiting init has %s", line)
			}
		}
	})
	t.Run("terminal", func(t *testing.T) {
		id := s.id(t)
		got, socket := receiveTerminal(t)
		b := bundle(t, func(c *specs.Spec) { c.Process.Terminal = true }, "sh", "-c", look)
		if r := with("run", "-d", "--bundle", b, "--console-socket", socket, id); r.status != 0 {
			t.Fatal(r)
		}
		master := <-got
		defer master.Close()
		out := make([]byte, 4096)
		n, _ := master.Read(out) // EIO: it has ended without a word
		if text := strings.TrimSpace(string(out[:max(n, 0)])); text != "" {
			t.Errorf("got %q", text)
		}
	})
}

// receiveTerminal listens at a console socket.
func receiveTerminal(t *testing.T) (<-chan *os.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	got := make(chan *os.File, 1)
	go func() {
		defer unix.Close(fd)
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
				got <- os.NewFile(uintptr(fds[0]), "master")
			}
		}
	}()
	return got, path
}

// TestAttackWorkingDirectory has descriptors of the runtime's for a working
// directory, by number, by a link of the image's, and by one that changes
// (CVE-2024-21626).
//
// Seen to succeed with chdir of the path by the process and no close_range:
// status 0.
func TestAttackWorkingDirectory(t *testing.T) {
	s := ours(t)
	id := s.id(t)
	b := bundle(t, func(c *specs.Spec) { c.Root.Readonly = false }, "sleep", "60")
	s.must(t, "run", "-d", "--bundle", b, id)
	for fd := range 12 {
		cwd := "/proc/self/fd/" + strconv.Itoa(fd)
		link := fmt.Sprintf("/tmp/link%d", fd)
		if err := os.Symlink(cwd+"/../../..", b+"/rootfs"+link); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{cwd, cwd + "/..", cwd + "/../..", "/proc/thread-self/fd/" + strconv.Itoa(fd), link} {
			if r := s.runWith(t, leaky(t), "exec", "--cwd", dir, id, "pwd"); r.status == 0 {
				t.Errorf("exec in %s: %s", dir, r)
			}
		}
		r := s.runWith(t, leaky(t), "run", "--bundle", bundle(t, func(c *specs.Spec) { c.Process.Cwd = cwd }, "pwd"), s.id(t))
		if r.status == 0 {
			t.Errorf("run in %s: %s", cwd, r)
		}
	}
	t.Run("changing", func(t *testing.T) {
		os.Mkdir(b+"/rootfs/tmp/dir", 0o755)
		os.Symlink("/proc/self/fd/7", b+"/rootfs/tmp/trap")
		stop := exchange(t, b+"/rootfs/tmp/dir", b+"/rootfs/tmp/trap")
		defer stop()
		for range 40 {
			r := s.runWith(t, leaky(t), "exec", "--cwd", "/tmp/dir", id, "sh", "-c", "pwd; readlink /proc/self/cwd; ls -a ../../../../..")
			if r.status == 0 && (!strings.HasPrefix(r.out, "/tmp/") || strings.Contains(r.out, "home")) {
				t.Fatal(r)
			}
		}
	})
}

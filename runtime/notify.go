package runtime

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container that tells a service manager when it is ready does so by a socket
// of its own: the manager's must not be in its reach, since what it may say
// there is more than that. This is runc's arrangement: a directory of the
// container's state is bound to /run/notify, whoever starts the container
// listens there, and passes on what is to be passed on.

const (
	notifyDir  = "notify" // in the container's directory
	notifyFile = "notify.sock"
	notifyAt   = "/run/notify" // in the container
)

// ListenNotify makes the socket that the container's processes find by
// $NOTIFY_SOCKET: datagrams, for the caller to receive. It is -1 for a container
// that was created without CreateOptions.Notify.
func (c *Container) ListenNotify() (int, error) {
	fd, err := listenNotify(c.dir)
	if errors.Is(err, unix.ENOENT) {
		return -1, nil
	}
	return fd, err
}

func listenNotify(dir string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make notify socket: %w", err)
	}
	path := filepath.Join(dir, notifyDir)
	at, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		// Short enough for sockaddr_un, whatever dir is.
		name := "/proc/self/fd/" + strconv.Itoa(at) + "/" + notifyFile
		unix.Unlink(name) // of a start that was killed
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
		if err == nil {
			err = unix.Chmod(name, 0o777) // whoever runs in the container
		}
		unix.Close(at)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen at %s/%s: %w", path, notifyFile, err)
	}
	return fd, nil
}

// addNotify adds to a configuration what shows the socket in dir to the container.
func addNotify(s *specs.Spec, dir string) {
	s.Mounts = append(s.Mounts, specs.Mount{Destination: notifyAt, Type: "bind", Source: filepath.Join(dir, notifyDir),
		Options: []string{"bind", "nosuid", "noexec", "nodev", "ro"}})
	s.Process.Env = append(s.Process.Env, "NOTIFY_SOCKET="+notifyAt+"/"+notifyFile)
}

func makeNotify(dir string) error {
	path := filepath.Join(dir, notifyDir)
	err := unix.Mkdir(path, 0o755)
	if err == nil {
		err = unix.Chmod(path, 0o755) // whatever the umask
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

package runtime

import (
	"fmt"
	"path/filepath"

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

// NotifySocket is where to listen for what the container's processes send by
// sd_notify(3). It has such a directory if it was created with
// CreateOptions.Notify.
func (c *Container) NotifySocket() string { return filepath.Join(c.dir, notifyDir, notifyFile) }

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

package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// attr is a file of a process's /proc/PID/attr, which none but the process may
// write. It is opened by the runtime, in the /proc that is one for sure, and
// handed over: whatever the container has at /proc has no say in it
// (CVE-2019-16884, CVE-2023-28642). The kernel (since 5.13) asks only that who
// writes has the memory that the file was opened on.
type attr struct {
	fd    int
	what  string // the step's text
	text  string
	names []string // the file, or what it was called before
}

// attrsOf is what a process has to write.
func attrsOf(p *specs.Process) []attr {
	var list []attr
	if label := p.SelinuxLabel; label != "" {
		list = append(list, attr{-1, "set SELinux label of keys", label, []string{"keycreate"}},
			attr{-1, "set SELinux label", label, []string{"exec"}})
	}
	if profile := p.ApparmorProfile; profile != "" && apparmorEnabled() {
		// A directory of its own since Linux 5.8, beside other modules.
		list = append(list, attr{-1, "set AppArmor profile " + profile, "exec " + profile, []string{"apparmor/exec", "exec"}})
	}
	return list
}

// openAttrs opens them for a process that waits.
// Preconditions: the thread is in the host's mount namespace.
func openAttrs(pid int, list []attr) error {
	for i := range list {
		a := &list[i]
		var err error
		for _, name := range a.names {
			path := "/proc/" + strconv.Itoa(pid) + "/attr/" + name
			if a.fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
				break
			}
			err = fmt.Errorf("open %s: %w", path, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func closeAttrs(list []attr) {
	for i := range list {
		if list[i].fd >= 0 {
			unix.Close(list[i].fd)
			list[i].fd = -1
		}
	}
}

// attrs adds the steps that write them, to the descriptors from fd on.
func (p *program) attrs(list []attr, fd int) {
	for i, a := range list {
		p.add(a.what, unix.SYS_WRITE, uint64(fd+i), p.str(a.text), uint64(len(a.text)))
	}
}

// apparmorEnabled says whether the kernel has AppArmor and uses it.
func apparmorEnabled() bool {
	b, err := readFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(b), "Y")
}

// checkLabels refuses what the kernel has no module for, before anything is made.
func checkLabels(p *specs.Process) error {
	if p.SelinuxLabel != "" {
		if err := needSELinux("process.selinuxLabel"); err != nil {
			return err
		}
	}
	// Where there is no AppArmor, everybody is unconfined.
	if a := p.ApparmorProfile; a != "" && a != "unconfined" && !apparmorEnabled() {
		return &UnsupportedError{Feature: "process.apparmorProfile", Needs: "AppArmor"}
	}
	return nil
}

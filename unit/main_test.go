package unit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain fails the run if a test leaves a socket open.
func TestMain(m *testing.M) {
	before := len(sockets())
	code := m.Run()
	if left := sockets(); len(left) > before && code == 0 {
		fmt.Println("sockets left open:", left)
		code = 1
	}
	os.Exit(code)
}

func sockets() (names []string) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			names = append(names, fd.Name())
		}
	}
	return names
}

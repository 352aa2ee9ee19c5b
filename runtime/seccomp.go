package runtime

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func compileSeccomp(s *specs.LinuxSeccomp) ([]unix.SockFilter, uint64, error) {
	return nil, 0, nil
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/berthrun/berth/config"
)

// The program is built twice. The everyday one, in PATH, is without the
// packages that talk to registries and decompress layers, which prepare
// themselves at the start of every process. The whole one is called berth-full
// and is where berth-shim is.
//
// becomeWhole executes it in place of this process, with the same command line:
// by then nothing has been done but to find out that it is needed. It returns
// only if it cannot.
func becomeWhole() error {
	cfg, err := config.Load()
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.Libexec, "berth-full")
	err = syscall.Exec(path, os.Args, os.Environ())
	return fmt.Errorf("execute %s: %w: it fetches and unpacks images: install berth as a whole", path, err)
}

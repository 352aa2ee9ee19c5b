// Command berth-generator is a generator as in systemd.generator(7): at boot,
// before any unit is loaded, it writes the settings of every container into a
// drop-in of its container@NAME.service.
package main

import (
	"fmt"
	"os"

	"github.com/berthrun/berth/config"
	"github.com/berthrun/berth/engine"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: berth-generator NORMAL-DIR [EARLY-DIR LATE-DIR]")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "berth-generator:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	cfg, err := config.Load()
	if err != nil {
		return err
	}
	h, err := engine.Open(cfg)
	if err != nil {
		return err
	}
	return engine.WriteDropIns(h, dir)
}

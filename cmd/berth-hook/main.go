// Command berth-hook does the engine's part of the work around one container's
// unit, for when nobody else is there: it is named in the units.
//
//	berth-hook condition NAME   ExecCondition= of container@.service: may it start there?
//	berth-hook up NAME          run by the shim before a start that needs the engine
//	berth-hook down NAME        ends what a killed shim left
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/berthrun/berth/config"
	"github.com/berthrun/berth/engine"
	"github.com/berthrun/berth/unit/journal"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: berth-hook condition|up|down NAME")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "berth-hook:", err)
		if os.Args[1] == "condition" {
			tell(os.Args[2], err)
		}
		if errors.Is(err, engine.ErrElsewhere) {
			os.Exit(1) // the start is skipped; systemd.service(5), ExecCondition=
		}
		os.Exit(255)
	}
}

// tell writes to the journal why the unit is not started: what it executes has
// /dev/null for standard error.
func tell(name string, err error) {
	_ = journal.Note(
		journal.Field{Name: "MESSAGE", Value: []byte(err.Error())},
		journal.Field{Name: "PRIORITY", Value: []byte("4")},
		journal.Field{Name: "SYSLOG_IDENTIFIER", Value: []byte("berth-hook")},
		journal.Field{Name: "OBJECT_SYSTEMD_UNIT", Value: []byte(engine.TemplateName(name))},
	)
}

func run(ctx context.Context, verb, name string) error {
	cfg, err := config.Load()
	if err != nil {
		return err
	}
	h, err := engine.Open(cfg)
	if err != nil {
		return err
	}
	defer h.Close()
	switch verb {
	case "condition":
		return engine.Condition(ctx, h, name)
	case "up":
		return engine.Up(ctx, h, name)
	case "down":
		return engine.Down(ctx, h, name)
	}
	return fmt.Errorf("%q: must be condition, up or down", verb)
}

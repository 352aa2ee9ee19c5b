// Package early calls [warm.Up] while the program's other packages are still
// being initialized, if its command line will most likely start a container: by
// the time that systemd comes to it, the wait is over. In main it would be two
// milliseconds later.
package early

import (
	"os"
	"slices"

	"github.com/berthrun/berth/internal/warm"
)

func init() {
	if starts(os.Args) {
		go warm.Up()
	}
}

// starts guesses: "berth run", "berth container start", or flags before them. A
// wrong guess costs nothing.
func starts(args []string) bool {
	return slices.ContainsFunc(args[min(len(args), 1):min(len(args), 3)], func(a string) bool {
		return a == "run" || a == "start" || a == "restart"
	})
}

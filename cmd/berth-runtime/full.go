//go:build !lean

package main

// whole says whether this is the whole program: see whole.go.
const whole = true

// wholeVerb is the verb of this name if it needs the whole program.
func wholeVerb(name string) verb {
	switch name {
	case "checkpoint":
		return checkpointContainer
	case "restore":
		return restoreContainer
	}
	return nil
}

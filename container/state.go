package container

// State is a container's state as Docker and Podman name it.
type State string

const (
	Created    State = "created"
	Running    State = "running"
	Paused     State = "paused"
	Restarting State = "restarting"
	Stopping   State = "stopping"
	Exited     State = "exited"
)

// UnitState is what StateOf needs to know of the unit a container runs in.
type UnitState struct {
	Active string // systemd's ActiveState; empty: not loaded
	Sub    string // systemd's SubState
}

// StateOf computes a container's state. started is nil where no run record
// lies below /run, exit nil where no run has ended yet.
//
// A unit that is loaded wins over both files: systemd is the truth. While a
// killed shim is being restarted the unit is "activating" and the run record is
// there: the container runs.
func StateOf(u UnitState, started *Started, exit *Exit) State {
	switch u.Active {
	case "active", "reloading", "refreshing": // refreshing since systemd 258
		if started == nil && exit != nil {
			return Exited // over: systemd has not heard of it yet
		}
		return Running
	case "activating":
		if started != nil {
			return Running
		}
		if u.Sub == "auto-restart" || u.Sub == "auto-restart-queued" {
			return Restarting
		}
		if exit != nil {
			return Exited
		}
		return Created
	case "deactivating":
		if started != nil {
			return Stopping
		}
	}
	if exit != nil {
		return Exited
	}
	return Created
}

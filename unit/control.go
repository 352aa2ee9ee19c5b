package unit

import "context"

// The modes of a job: what becomes of jobs that are queued already.
const (
	ModeReplace = "replace" // they are cancelled if they conflict
	ModeFail    = "fail"    // they stay, and the new one is refused if it conflicts
)

// Start starts a unit that exists: one that is loaded, or has a unit file.
func (c *Conn) Start(ctx context.Context, name string) (*Job, error) {
	return c.enqueue(ctx, "start", name, "StartUnit", 0, name, ModeReplace)
}

// Stop stops a unit. Stopping one that is not loaded is ErrNotExist, one that
// does not run is done at once.
func (c *Conn) Stop(ctx context.Context, name string) (*Job, error) {
	return c.enqueue(ctx, "stop", name, "StopUnit", 0, name, ModeReplace)
}

// Restart stops and starts a unit; one that does not run is started.
func (c *Conn) Restart(ctx context.Context, name string) (*Job, error) {
	return c.enqueue(ctx, "restart", name, "RestartUnit", 0, name, ModeReplace)
}

// TryRestart restarts a unit if it runs.
func (c *Conn) TryRestart(ctx context.Context, name string) (*Job, error) {
	return c.enqueue(ctx, "restart", name, "TryRestartUnit", 0, name, ModeReplace)
}

// Reload asks a unit to reload its own configuration.
func (c *Conn) Reload(ctx context.Context, name string) (*Job, error) {
	return c.enqueue(ctx, "reload", name, "ReloadUnit", 0, name, ModeReplace)
}

// Whom a signal goes to.
const (
	KillMain    = "main"
	KillControl = "control" // ExecStartPre=, ExecStopPost= and their like
	KillAll     = "all"
)

// Kill sends a signal to processes of a unit. It says so where there is no such
// process.
func (c *Conn) Kill(ctx context.Context, name, whom string, signal int) error {
	_, err := c.manager(ctx, "KillUnit", name, whom, int32(signal))
	return opError("kill", name, err)
}

// ResetFailed forgets that a unit failed, which lets the manager forget the
// unit, and resets its restart counter. A unit that is not loaded is no error:
// it is forgotten already.
func (c *Conn) ResetFailed(ctx context.Context, name string) error {
	_, err := c.manager(ctx, "ResetFailedUnit", name)
	if isNotExist(err) {
		return nil
	}
	return opError("reset", name, err)
}

// SetProperties changes properties of a loaded unit while it runs. With
// runtime the change ends with the next boot, otherwise the manager keeps it in
// a drop-in of its own, which outlives the unit.
func (c *Conn) SetProperties(ctx context.Context, name string, runtime bool, props ...Property) error {
	_, err := c.manager(ctx, "SetUnitProperties", name, runtime, wireProperties(props))
	return opError("set properties of", name, propertyError(props, err))
}

// DaemonReload makes the manager read all unit files again. It is slow, and is
// not needed for drop-ins of units that are not loaded.
func (c *Conn) DaemonReload(ctx context.Context) error {
	_, err := c.manager(ctx, "Reload")
	return opError("reload systemd", "", err)
}

// Freeze and Thaw act on the unit's whole cgroup.
func (c *Conn) Freeze(ctx context.Context, name string) error {
	_, err := c.manager(ctx, "FreezeUnit", name)
	return opError("freeze", name, err)
}

// Thaw ends a Freeze.
func (c *Conn) Thaw(ctx context.Context, name string) error {
	_, err := c.manager(ctx, "ThawUnit", name)
	return opError("thaw", name, err)
}

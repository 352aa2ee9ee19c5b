package unit

import (
	"context"
	"fmt"
	"path"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// Results of a job, as systemd names them.
const (
	JobDone        = "done"
	JobFailed      = "failed"
	JobTimeout     = "timeout"
	JobDependency  = "dependency"
	JobCanceled    = "canceled"
	JobSkipped     = "skipped"
	JobInvalid     = "invalid"
	JobAssert      = "assert"
	JobUnsupported = "unsupported"
	JobCollected   = "collected"
	JobOnce        = "once"
	JobFrozen      = "frozen" // systemd ≥ 257
)

// A Job is work that the manager does on a unit. It needs no waiting for: the
// manager finishes it whatever becomes of the caller.
type Job struct {
	Op   string
	Unit string
	ID   uint32

	done chan struct{} // closed when what follows is set

	result string
	err    error
}

// Done is closed when the job has ended or cannot be followed any more.
func (j *Job) Done() <-chan struct{} { return j.done }

// Wait waits for the job's end. Its error is nil if the result is "done", an
// [*Error] with another Result if the job ended otherwise, and has no Result if
// the end was not seen.
func (j *Job) Wait(ctx context.Context) error {
	select {
	case <-j.done:
	case <-ctx.Done():
		return opError(j.Op, j.Unit, ctx.Err())
	}
	if j.err != nil {
		return opError(j.Op, j.Unit, j.err)
	}
	if j.result != JobDone {
		return &Error{Op: j.Op, Unit: j.Unit, Result: j.result}
	}
	return nil
}

// enqueue calls a method that answers with a job.
func (c *Conn) enqueue(ctx context.Context, op, unit, member string, nfds int, args ...any) (*Job, error) {
	if err := c.listen(ctx); err != nil {
		return nil, opError(op, unit, err)
	}
	j := &Job{Op: op, Unit: unit, done: make(chan struct{})}
	b := c.batch()
	k := b.add(systemdName, method{managerPath, managerIface, member}, j, nfds, args)
	if err := b.send(ctx); err != nil {
		return nil, opError(op, unit, err)
	}
	body, err := c.await(ctx, k)
	if err != nil {
		return nil, opError(op, unit, err)
	}
	p, _ := first[dbus.ObjectPath](body)
	id, err := strconv.ParseUint(path.Base(string(p)), 10, 32)
	if err != nil {
		return nil, opError(op, unit, fmt.Errorf("%w: job path %q", errFrame, p))
	}
	j.ID = uint32(id)
	return j, nil
}

// removed ends the job that a JobRemoved signal names. Preconditions: c.mu.
func (c *Conn) removed(path dbus.ObjectPath, result string) {
	if j := c.jobs[path]; j != nil {
		delete(c.jobs, path)
		j.result = result
		close(j.done)
	}
}

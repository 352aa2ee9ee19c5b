package wire

import (
	_ "embed" // the interface description
	"encoding/json"
	"errors"
	"fmt"
)

// Interface is the name of the Varlink interface.
const Interface = "run.berth.Container"

// Description is the interface in Varlink's definition language.
//
//go:embed run.berth.Container.varlink
var Description string

// Methods of the interface.
const (
	MethodAttach     = Interface + ".Attach"
	MethodCloseStdin = Interface + ".CloseStdin"
	MethodExec       = Interface + ".Exec"
	MethodInfo       = Interface + ".Info"
	MethodKill       = Interface + ".Kill"
	MethodResize     = Interface + ".Resize"
	MethodWait       = Interface + ".Wait"

	MethodLeaveTerminal = Interface + ".LeaveTerminal"
)

// Names of errors.
const (
	ErrorNotRunning = Interface + ".NotRunning"
	ErrorNoTerminal = Interface + ".NoTerminal"
	ErrorNoStdin    = Interface + ".NoStdin"
	ErrorExecFailed = Interface + ".ExecFailed"
	ErrorFailed     = Interface + ".Failed"

	ErrorMethodNotFound       = "org.varlink.service.MethodNotFound"
	ErrorInterfaceNotFound    = "org.varlink.service.InterfaceNotFound"
	ErrorMethodNotImplemented = "org.varlink.service.MethodNotImplemented"
	ErrorInvalidParameter     = "org.varlink.service.InvalidParameter"
	ErrorExpectedMore         = "org.varlink.service.ExpectedMore"
)

// Call is a request.
type Call struct {
	Method     string          `json:"method"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	More       bool            `json:"more,omitempty"`
	Oneway     bool            `json:"oneway,omitempty"`
	Upgrade    bool            `json:"upgrade,omitempty"`
}

// Reply answers a Call. Continues: another one follows.
type Reply struct {
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Continues  bool            `json:"continues,omitempty"`
	Error      string          `json:"error,omitempty"`
}

// AttachArgs are the parameters of Attach. Stdout and Stderr are indices of
// passed descriptors, to which the container's output is copied from now on.
// With a terminal there is no separate standard error.
type AttachArgs struct {
	Stdin     bool `json:"stdin,omitempty"` // asks for a descriptor to write the container's input to
	StdinOnce bool `json:"stdinOnce,omitempty"`
	Stdout    *int `json:"stdout,omitempty"`
	Stderr    *int `json:"stderr,omitempty"`
	// Where a client that comes back goes on: bytes of each stream since
	// the start that it has. Absent: from now on.
	StdoutOffset *int64 `json:"stdoutOffset,omitempty"`
	StderrOffset *int64 `json:"stderrOffset,omitempty"`
}

// AttachReply is Attach's first reply (Exit absent) and its last one.
type AttachReply struct {
	Stdin        *int  `json:"stdin,omitempty"` // index of the passed descriptor
	Terminal     bool  `json:"terminal,omitempty"`
	StdoutOffset int64 `json:"stdoutOffset,omitempty"` // first byte of the stream that will come
	StderrOffset int64 `json:"stderrOffset,omitempty"`
	Exit         *Exit `json:"exit,omitempty"`
}

// ExecArgs are the parameters of Exec. Process is the OCI process object. The
// descriptors at the indices become the process's own; an absent one is
// /dev/null. With Terminal none is passed and the reply carries the master.
type ExecArgs struct {
	Process  json.RawMessage `json:"process"`
	Terminal bool            `json:"terminal,omitempty"`
	Stdin    *int            `json:"stdin,omitempty"`
	Stdout   *int            `json:"stdout,omitempty"`
	Stderr   *int            `json:"stderr,omitempty"`
}

// ExecReply is Exec's first reply (Pid) and, with "more", its last one (Exit).
type ExecReply struct {
	ID     string `json:"id,omitempty"`
	Pid    int    `json:"pid,omitempty"` // in the host's PID namespace
	Master *int   `json:"master,omitempty"`
	Exit   *Exit  `json:"exit,omitempty"`
}

// LeaveTerminalArgs are the parameters of LeaveTerminal: the index of the
// master that Exec's reply carried.
type LeaveTerminalArgs struct {
	Master *int `json:"master"`
}

// KillArgs are the parameters of Kill.
type KillArgs struct {
	Signal int `json:"signal"`
}

// ResizeArgs are the parameters of Resize.
type ResizeArgs struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// WaitReply is the reply of Wait.
type WaitReply struct {
	Exit Exit `json:"exit"`
}

// Info is the reply of Info.
type Info struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	State    string `json:"state"` // creating, running, stopping, exited
	Pid      int    `json:"pid,omitempty"`
	Terminal bool   `json:"terminal,omitempty"`
	Adopted  int    `json:"adopted,omitempty"` // times that a supervisor took this run over
	Stdout   int64  `json:"stdout,omitempty"`  // bytes taken since the start
	Stderr   int64  `json:"stderr,omitempty"`
}

// Exit is what was observed at the end of the container or of an exec'd
// process.
type Exit struct {
	// Code is the exit code, 128+n after signal n. nil: nobody observed it.
	Code      *int   `json:"code,omitempty"`
	Signal    int    `json:"signal,omitempty"`
	OOMKilled bool   `json:"oomKilled,omitempty"`
	Stopped   bool   `json:"stopped,omitempty"`
	Error     string `json:"error,omitempty"` // why it did not start
}

// Error is an error reply.
type Error struct {
	Name    string `json:"-"`
	Message string `json:"message,omitempty"`
	// Code is 125, 126 or 127 where a process could not be started.
	Code int `json:"code,omitempty"`
}

func (e *Error) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return e.Name
}

// Is lets callers branch on an error's name: errors.Is(err, &wire.Error{Name: wire.ErrorNotRunning}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Name == e.Name
}

// ErrGone is returned where the peer closed the connection before it answered:
// the supervisor was killed or has ended. A client dials again or reads the
// exit record.
var ErrGone = errors.New("supervisor is gone")

// file returns the descriptor that index stands for; nil where index is absent.
func pick[T any](index *int, files []T, field string) (T, error) {
	var none T
	if index == nil {
		return none, nil
	}
	if *index < 0 || *index >= len(files) {
		return none, fmt.Errorf("%s: no descriptor %d was passed", field, *index)
	}
	return files[*index], nil
}

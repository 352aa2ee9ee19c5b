package image

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// State is what happens to a layer.
type State int

// A layer goes from Waiting or Downloading through Unpacking to Done; from
// Retrying back to Downloading. Exists is final: nothing had to be done.
const (
	Waiting     State = iota // another process has it in hand
	Downloading              // and unpacking what has come
	Retrying                 // the connection broke or the content was wrong; Err says what
	Unpacking                // everything has come
	Done
	Exists
)

func (s State) String() string {
	return [...]string{"waiting", "downloading", "retrying", "unpacking", "done", "exists"}[s]
}

// An Event tells how far an operation is with one layer. Bytes count the blob
// as it is transferred.
type Event struct {
	Layer digest.Digest
	State State
	Done  int64
	Total int64 // 0 when it is not known
	Err   error // why Retrying
}

// reporter passes events on, one at a time.
type reporter struct {
	mu sync.Mutex // serialises fn
	fn func(Event)
}

func (r *reporter) report(e Event) {
	if r.fn == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fn(e)
}

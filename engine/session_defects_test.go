package engine

import (
	"os"
	"testing"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/shim/wire"
)

// The exit record is of a run before this one.
func TestSessionStaleExit(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	fakeShim(t, h, r, func(a *attachment) {
		a.reply(wire.AttachReply{}, false)
		if err := os.RemoveAll(h.Containers.RunDir(r.ID)); err != nil {
			t.Error(err)
		}
	})
	if err := h.Containers.WriteExit(r.ID, &container.Exit{Version: 1, Invocation: "before", Code: p(0)}); err != nil {
		t.Fatal(err)
	}
	s := attachTo(t, h, r)
	readAll(t, s)
	if e, err := waitEnd(t, s); err == nil {
		t.Errorf("got exit %+v of another run", e)
	}
}

// A client leaves while the next shim is about to answer.
func TestSessionClosedWhileReattaching(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	asked, answer, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	fakeShim(t, h, r,
		func(a *attachment) { a.reply(wire.AttachReply{}, false) },
		func(a *attachment) {
			close(asked)
			<-answer
			a.reply(wire.AttachReply{}, false)
			_, _, _ = a.conn.Receive()
			close(left)
		})
	s := attachTo(t, h, r)
	go readAll(t, s)
	<-asked
	s.Close()
	close(answer)
	select {
	case <-left:
	case <-time.After(2 * time.Second):
		t.Error("the connection to the second shim stays")
	}
	waitEnd(t, s)
}

// Descriptors of exec'd processes do not pile up.
func TestExecDescriptors(t *testing.T) {
	h, r := testHost(t), testRecord("web")
	var serve []func(*attachment)
	for range 10 {
		serve = append(serve, func(a *attachment) {
			a.reply(wire.ExecReply{Pid: os.Getpid()}, false)
			a.reply(wire.ExecReply{Exit: &wire.Exit{Code: p(0)}}, true)
		})
	}
	fakeShim(t, h, r, serve...)
	count := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	before := count()
	for range 10 {
		s, err := Exec(t.Context(), h, r.Name, ExecSpec{Args: []string{"true"}})
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, s, 0)
		s.Close()
	}
	if after := count(); after > before+3 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

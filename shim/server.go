package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/logs"
	"github.com/berthrun/berth/shim/wire"
)

// server answers on the container's control socket.
type server struct {
	s        *shim
	ready    chan struct{} // closed when the container's stdio is there
	attached chan struct{} // closed by the first Attach
	once     sync.Once
	over     chan struct{} // closed when exit is set

	mu      sync.Mutex // guards what follows
	state   string
	exit    *wire.Exit
	sockets []*os.File // listeners
	clients map[*client]struct{}
}

// States that Info tells.
const (
	stateCreating = "creating"
	stateRunning  = "running"
	stateExited   = "exited"
)

// client is one connection. Its goroutine receives; replies are sent by that
// one too, but for those that tell an exit.
type client struct {
	conn *wire.Conn

	mu        sync.Mutex // one message at a time; guards what follows
	attached  bool       // by Attach
	waiting   bool       // wants to be told the container's exit
	stdinOnce bool
	follows   map[*stream]*follower
}

func newServer(s *shim) *server {
	return &server{
		s: s, state: stateCreating,
		ready: make(chan struct{}), attached: make(chan struct{}), over: make(chan struct{}),
		clients: map[*client]struct{}{},
	}
}

// stdioReady lets Attach go on.
func (v *server) stdioReady() { close(v.ready) }

// open says that the container runs. Nobody is told so before.
func (v *server) open() {
	v.mu.Lock()
	v.state = stateRunning
	v.mu.Unlock()
}

// serve accepts until the end of the process. l is the inherited listener: it
// stays systemd's, so that nobody is refused while no supervisor lives.
func (v *server) serve(l *os.File) {
	v.mu.Lock()
	v.sockets = append(v.sockets, l)
	v.mu.Unlock()
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	go func() {
		for {
			fd := -1
			var aerr error
			err := raw.Read(func(lfd uintptr) bool {
				fd, _, aerr = unix.Accept4(int(lfd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
				return aerr != unix.EAGAIN && aerr != unix.EINTR
			})
			if err != nil {
				return
			}
			if aerr != nil {
				time.Sleep(50 * time.Millisecond) // EMFILE: others may leave
				continue
			}
			conn, err := wire.NewConn(fd)
			if err == nil {
				go v.talk(conn)
			}
		}
	}()
}

// turnAway closes the connections that nobody has accepted: the listener
// outlives this process, and systemd would start another one for them.
func (v *server) turnAway() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.sockets {
		_ = control(l, func(lfd int) {
			for {
				fd, _, err := unix.Accept4(lfd, unix.SOCK_CLOEXEC)
				if err != nil {
					return
				}
				unix.Close(fd)
			}
		})
	}
}

// hangUp lets go of the clients: nothing of the run is left for them.
func (v *server) hangUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.clients {
		_ = c.conn.Close()
	}
}

func (v *server) talk(conn *wire.Conn) {
	c := &client{conn: conn, follows: map[*stream]*follower{}}
	v.mu.Lock()
	v.clients[c] = struct{}{}
	v.mu.Unlock()
	for {
		msg, files, err := conn.Receive()
		if err != nil {
			break
		}
		if err := v.handle(c, msg, files); err != nil {
			break
		}
	}
	v.leave(c)
}

// leave ends everything that a connection was for. What it started goes on.
func (v *server) leave(c *client) {
	v.mu.Lock()
	delete(v.clients, c)
	ended := v.exit != nil
	v.mu.Unlock()
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for st, f := range c.follows {
		st.unfollow(f)
	}
	if c.stdinOnce && !ended {
		v.s.closeStdin()
	}
}

// handle answers one message. An error ends the connection.
func (v *server) handle(c *client, msg []byte, files []*os.File) error {
	var call wire.Call
	if err := json.Unmarshal(msg, &call); err != nil {
		closeFiles(files)
		return fmt.Errorf("message: %w", err)
	}
	h, ok := methods[call.Method]
	if !ok {
		closeFiles(files)
		return c.reply(call, nil, unknownMethod(call.Method))
	}
	r := &request{Call: call, client: c, files: files}
	reply, err := h(v, r)
	closeFiles(files)
	if r.replied || reply == nil && err == nil {
		return nil
	}
	return c.reply(call, reply, err, r.answer...)
}

// request is a call on its way.
type request struct {
	wire.Call
	client  *client
	files   []*os.File
	answer  []*os.File // descriptors for the reply
	replied bool
}

// args decodes the parameters.
func (r *request) args(v any) error {
	if len(r.Parameters) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Parameters, v); err != nil {
		return invalid(err.Error())
	}
	return nil
}

// take returns a duplicate of the passed descriptor at index: two fields may
// name the same one.
func (r *request) take(index *int, field string) (*os.File, error) {
	if index == nil {
		return nil, nil
	}
	if *index < 0 || *index >= len(r.files) {
		return nil, invalid(field)
	}
	fd, err := unix.FcntlInt(rawFD(r.files[*index]), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return os.NewFile(uintptr(fd), field), nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// methodError is an error reply with its parameters.
type methodError struct {
	name   string
	params any
}

func (e *methodError) Error() string { return e.name }

func invalid(parameter string) error {
	return &methodError{wire.ErrorInvalidParameter, map[string]string{"parameter": parameter}}
}

func unknownMethod(name string) error {
	for i := len(name) - 1; i > 0; i-- {
		if name[i] == '.' {
			if iface := name[:i]; iface != wire.Interface && iface != serviceInterface {
				return &methodError{wire.ErrorInterfaceNotFound, map[string]string{"interface": iface}}
			}
			break
		}
	}
	return &methodError{wire.ErrorMethodNotFound, map[string]string{"method": name}}
}

func refuse(name, message string) error {
	return &methodError{name, map[string]string{"message": message}}
}

// reply sends one reply. Further ones follow if reply says so.
func (c *client) reply(call wire.Call, reply any, err error, files ...*os.File) error {
	if call.Oneway {
		return nil
	}
	var r wire.Reply
	if err != nil {
		var me *methodError
		if !errors.As(err, &me) {
			me = &methodError{wire.ErrorFailed, map[string]string{"message": err.Error()}}
		}
		r.Error, reply = me.name, me.params
	}
	return c.send(r, reply, files...)
}

func (c *client) send(r wire.Reply, params any, files ...*os.File) error {
	if params == nil {
		params = struct{}{}
	}
	var err error
	if r.Parameters, err = json.Marshal(params); err != nil {
		return err
	}
	msg, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.conn.Send(msg, files...)
}

// ended tells everybody who waits what the container ended with, once they
// have all of its output. Connections stay open: their end says that nothing is
// left. It returns whether an attached client was told.
func (v *server) ended(exit wire.Exit) (told bool) {
	v.mu.Lock()
	v.exit, v.state = &exit, stateExited
	close(v.over)
	clients := make([]*client, 0, len(v.clients))
	for c := range v.clients {
		clients = append(clients, c)
	}
	v.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range clients {
		c.mu.Lock()
		attached, waiting := c.attached, c.waiting
		c.mu.Unlock()
		if !waiting {
			continue
		}
		told = told || attached
		wg.Go(func() { c.tellExit(exit) })
	}
	wg.Wait()
	return told
}

// patience is how long the end of the supervisor waits for a client that does
// not read.
const patience = 10 * time.Second

func (c *client) tellExit(exit wire.Exit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting {
		return
	}
	c.waiting = false
	timeout := time.After(patience)
	for st, f := range c.follows {
		st.finish()
		select {
		case <-f.over:
		case <-timeout:
			st.unfollow(f)
		}
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = c.send(wire.Reply{}, wire.WaitReply{Exit: exit})
}

// follow copies a stream to a client.
func (c *client) follow(st *stream, dst *os.File, offset *int64) int64 {
	if dst == nil || st == nil {
		if dst != nil {
			dst.Close()
		}
		return 0
	}
	f, start := st.follow(dst, offset)
	c.follows[st] = f
	return start
}

func (s *shim) closeStdin() {
	s.mu.Lock()
	f := s.stdin
	s.stdin = nil
	s.mu.Unlock()
	if f != nil {
		f.Close()
		_ = s.sd.Remove(fdStdin)
	}
}

func (s *shim) stream(id logs.Stream) *stream { return s.streams[id] }

package unit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	systemdName   = "org.freedesktop.systemd1"
	managerPath   = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface  = "org.freedesktop.systemd1.Manager"
	unitIface     = "org.freedesktop.systemd1.Unit"
	serviceIface  = "org.freedesktop.systemd1.Service"
	jobIface      = "org.freedesktop.systemd1.Job"
	propertyIface = "org.freedesktop.DBus.Properties"
	busName       = "org.freedesktop.DBus"
	busPath       = dbus.ObjectPath("/org/freedesktop/DBus")
)

// Conn is a connection to a systemd manager. It is safe for concurrent use.
type Conn struct {
	sock   *net.UnixConn
	onBus  bool          // through a message bus, not straight to the manager
	reader chan struct{} // closed when the reading goroutine has ended

	// mu guards what follows. The reader holds it while it hands a message
	// on, never while it waits.
	mu       sync.Mutex
	serial   uint32
	calls    map[uint32]*call
	flying   int           // calls that went out and have no reply yet, also those that nobody waits for any more
	waiting  int           // who wait for room for more of them
	landed   chan struct{} // closed and made anew when there is some
	jobs     map[dbus.ObjectPath]*Job
	watchers map[*Watcher]struct{}
	err      error // why the connection ended

	write sync.Mutex // held for one whole frame

	listening sync.Mutex
	listens   bool // has asked the bus for signals; guarded by listening

	version *call // asked for by newConn
}

// Dial connects to the manager that serves this user: PID 1 for root, otherwise
// the user manager.
func Dial(ctx context.Context) (*Conn, error) {
	if os.Geteuid() == 0 {
		return dialSystem(ctx)
	}
	return DialUser(ctx)
}

// busPatience is how long the system's message bus may take to answer. It is
// not needed: it is only cheaper.
const busPatience = time.Second

// dialSystem goes through the message bus where there is one. PID 1 registers
// its whole interface with each private connection, and takes it back at its
// end: 1.9 ms of its one thread, where a caller on the bus costs all concerned
// 0.8 ms (systemd 257). The private socket is there in a rescue shell too.
func dialSystem(ctx context.Context) (*Conn, error) {
	quick, cancel := context.WithTimeout(ctx, busPatience)
	c, err := DialBus(quick)
	cancel()
	if err == nil || ctx.Err() != nil {
		return c, err
	}
	const path = "/run/systemd/private"
	c, err = dialSocket(ctx, path, false)
	if err != nil && isAbsent(err) {
		return nil, fmt.Errorf("%w: nothing listens on %s: run this where systemd is PID 1", ErrNoSystemd, path)
	}
	return c, err
}

// DialBus connects to the system's manager through the message bus.
func DialBus(ctx context.Context) (*Conn, error) {
	return dialSocket(ctx, "/run/dbus/system_bus_socket", true)
}

// DialUser connects to the user manager, whoever the caller is.
func DialUser(ctx context.Context) (*Conn, error) {
	var first error
	for _, p := range userSockets(os.Getenv) {
		c, err := dialSocket(ctx, p.path, p.bus)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if first == nil || isAbsent(first) {
			first = err
		}
	}
	switch {
	case first == nil:
		return nil, fmt.Errorf("%w: XDG_RUNTIME_DIR is not set: log in through PAM, or become root", ErrNoSystemd)
	case isAbsent(first):
		return nil, fmt.Errorf("%w: no user manager runs for uid %d: loginctl enable-linger starts one", ErrNoSystemd, os.Getuid())
	}
	return nil, first
}

type socketPath struct {
	path string
	bus  bool
}

// userSockets lists where a user manager may be found, best first.
func userSockets(getenv func(string) string) []socketPath {
	var s []socketPath
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		s = append(s, socketPath{dir + "/systemd/private", false}, socketPath{dir + "/bus", true})
	}
	for addr := range strings.SplitSeq(getenv("DBUS_SESSION_BUS_ADDRESS"), ";") {
		if keys, ok := strings.CutPrefix(addr, "unix:"); ok {
			for kv := range strings.SplitSeq(keys, ",") {
				if p, ok := strings.CutPrefix(kv, "path="); ok {
					if p, err := dbus.UnescapeBusAddressValue(p); err == nil {
						s = append(s, socketPath{p, true})
					}
				}
			}
		}
	}
	return s
}

func isAbsent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR)
}

func dialSocket(ctx context.Context, path string, onBus bool) (*Conn, error) {
	var d net.Dialer
	s, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("connect to systemd: %w: %w", ErrPermission, err)
		}
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	return newConn(ctx, s.(*net.UnixConn), onBus)
}

// New makes a Conn of a socket whose other end is a manager, and owns it from
// then on, also when it fails.
func New(ctx context.Context, sock *net.UnixConn) (*Conn, error) {
	return newConn(ctx, sock, false)
}

func newConn(ctx context.Context, sock *net.UnixConn, onBus bool) (*Conn, error) {
	c := &Conn{
		sock:     sock,
		onBus:    onBus,
		reader:   make(chan struct{}),
		calls:    make(map[uint32]*call),
		landed:   make(chan struct{}),
		jobs:     make(map[dbus.ObjectPath]*Job),
		watchers: make(map[*Watcher]struct{}),
	}
	b := c.batch()
	b.out = append(b.out, hello...)
	if onBus {
		b.add(busName, method{busPath, busName, "Hello"}, nil, 0, nil)
	}
	c.version = b.get(managerPath, managerIface, "Version")
	go c.read()
	err := b.send(ctx)
	if onBus {
		// A bus may be there without a manager on it.
		for _, k := range b.calls {
			if err == nil {
				_, err = c.await(ctx, k)
			}
		}
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	return c, nil
}

// hello is our side of the EXTERNAL handshake, which goes by the socket's
// credentials. Nothing waits for the answers, and the first calls go out in
// the same write: systemd spends a millisecond and a half on every new private
// connection (it registers its whole interface with it), which is the caller's
// to use.
const hello = "\x00AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"

// authenticated reads the answers to hello: DATA (the server asks for an
// identity), OK, AGREE_UNIX_FD.
func authenticated(in *bufio.Reader) error {
	for _, want := range []string{"DATA", "OK ", "AGREE_UNIX_FD"} {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		got := strings.TrimRight(string(line[:min(len(line), 80)]), "\r\n")
		if strings.HasPrefix(got, "REJECTED") {
			return fmt.Errorf("authenticate: %w", ErrPermission)
		}
		if !strings.HasPrefix(got, want) {
			return fmt.Errorf("%w: authenticate: got %q, want %q", errFrame, got, want)
		}
	}
	return nil
}

// listen asks the bus for what the manager broadcasts, which a private
// connection gets unasked: the ends of jobs whoever asked for them, the rest
// once somebody has subscribed. Who waits for nothing need not hear it.
func (c *Conn) listen(ctx context.Context) error {
	if !c.onBus {
		return nil
	}
	c.listening.Lock()
	defer c.listening.Unlock()
	if c.listens {
		return nil
	}
	rule := "type='signal',sender='" + systemdName + "',path_namespace='" + string(managerPath) + "'"
	_, err := c.ask(ctx, busName, method{busPath, busName, "AddMatch"}, 0, []any{rule})
	c.listens = err == nil
	return err
}

// subscribe makes the manager broadcast the changes of units. On a bus it does
// so for subscribers only.
func (c *Conn) subscribe(ctx context.Context) error {
	if !c.onBus {
		return nil
	}
	if err := c.listen(ctx); err != nil {
		return err
	}
	if _, err := c.manager(ctx, "Subscribe"); err != nil && !isAlready(err) {
		return err
	}
	return nil
}

// isAlready: somebody on this connection has subscribed before.
func isAlready(err error) bool {
	var be *BusError
	return errors.As(err, &be) && be.Name == "org.freedesktop.systemd1.AlreadySubscribed"
}

// Close ends the connection. Calls in flight and waits return ErrDisconnected.
func (c *Conn) Close() error {
	err := c.sock.Close()
	<-c.reader
	return err
}

// read hands on what the peer sends, until the connection ends.
func (c *Conn) read() {
	defer close(c.reader)
	in := bufio.NewReaderSize(c.sock, 16<<10)
	if err := authenticated(in); err != nil {
		c.fail(err)
		return
	}
	var buf []byte
	for {
		f, err := readFrame(in, buf)
		if err == nil {
			buf = f
			err = c.dispatch(f)
		}
		if err != nil {
			c.fail(err)
			return
		}
		if cap(buf) > 1<<20 {
			buf = nil // one large list must not stay for good
		}
	}
}

// fail ends the connection and everybody's wait for it.
func (c *Conn) fail(err error) {
	c.sock.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, errFrame) || errors.Is(err, ErrPermission) {
		c.err = fmt.Errorf("%w: %w", ErrDisconnected, err)
	} else {
		c.err = ErrDisconnected
	}
	for _, k := range c.calls {
		k.err = c.err
		close(k.done)
	}
	for _, j := range c.jobs {
		j.err = c.err
		close(j.done)
	}
	for w := range c.watchers {
		w.fail(c.err)
	}
	if c.landed != nil {
		c.goOn()
	}
	clear(c.calls)
	clear(c.jobs)
	clear(c.watchers)
}

// dispatch hands one frame to whom it concerns. It is the only place that sees
// messages in the order the manager sent them: a job is registered here, when
// the reply that names it is read, and so never misses its JobRemoved signal.
func (c *Conn) dispatch(f frame) error {
	h, err := f.header()
	if err != nil {
		return err
	}
	switch h.kind {
	case dbus.TypeMethodReply, dbus.TypeError:
		return c.reply(f, h)
	case dbus.TypeSignal:
		return c.signal(f, h)
	}
	return nil // nobody calls us
}

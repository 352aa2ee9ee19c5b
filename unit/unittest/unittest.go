// Package unittest is a manager for tests: an in-process D-Bus peer at the
// other end of a socket, driving the real unit.Conn.
//
//	p, c := unittest.Dial(t, func(call unittest.Call) unittest.Reply {
//		return unittest.Fail("org.freedesktop.systemd1.NoSuchUnit", "not here")
//	})
//
// It speaks the wire format and nothing else: what systemd would do, the
// handler says.
package unittest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/unit"
)

// Call is a method call as the peer received it.
type Call struct {
	Path   dbus.ObjectPath
	Member string // with its interface: org.freedesktop.systemd1.Manager.StopUnit
	Args   []any
	Files  []*os.File // that came with it; closed when the handler returns
}

// Property is the name of the property that a call reads, "" if it reads none.
func (c Call) Property() string {
	if c.Member != "org.freedesktop.DBus.Properties.Get" || len(c.Args) != 2 {
		return ""
	}
	name, _ := c.Args[1].(string)
	return name
}

func (c Call) isVersion() bool {
	return c.Property() == "Version" && c.Path == "/org/freedesktop/systemd1"
}

// Reply is the answer to a call.
type Reply struct {
	Body  []any
	Error string // name of the error; Body is its text
	// Then is called when the reply has been sent, by the same goroutine that
	// serves the next call.
	Then func()
	// Silent sends no reply at all.
	Silent bool
}

// Return is a reply with these values.
func Return(body ...any) Reply { return Reply{Body: body} }

// Fail is an error reply.
func Fail(name, text string) Reply { return Reply{Error: name, Body: []any{text}} }

// Peer is the manager's end of the connection.
type Peer struct {
	t    testing.TB
	sock *net.UnixConn

	version string

	mu     sync.Mutex // held for one message
	serial uint32
}

// Dial returns a connection and the peer that answers it with handle. Calls
// are handled one after the other, in one goroutine. The manager's version is
// answered with 257, without handle.
func Dial(t testing.TB, handle func(Call) Reply) (*Peer, *unit.Conn) {
	t.Helper()
	return DialVersion(t, "257.9-1", handle)
}

// DialVersion is Dial to a manager of another version.
func DialVersion(t testing.TB, version string, handle func(Call) Reply) (*Peer, *unit.Conn) {
	t.Helper()
	ours, theirs := pair(t)
	p := &Peer{t: t, sock: theirs, version: version}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serve(handle)
	}()
	c, err := unit.New(context.Background(), ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		theirs.Close()
		<-done
	})
	// The handshake is over when the first call is answered; a manager sends
	// no signals before.
	c.Version(context.Background())
	return p, c
}

func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// Hangup ends the connection, as a manager does that executes itself anew.
func (p *Peer) Hangup() { p.sock.Close() }

// Write sends bytes that need be no message.
func (p *Peer) Write(b []byte) { p.sock.Write(b) }

// Signal sends a signal; name includes the interface.
func (p *Peer) Signal(path dbus.ObjectPath, name string, body ...any) {
	dot := strings.LastIndexByte(name, '.')
	p.send(&dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:      dbus.MakeVariant(path),
			dbus.FieldInterface: dbus.MakeVariant(name[:dot]),
			dbus.FieldMember:    dbus.MakeVariant(name[dot+1:]),
		},
		Body: body,
	})
}

// ManagerSignal sends a signal of the manager object.
func (p *Peer) ManagerSignal(member string, body ...any) {
	p.Signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager."+member, body...)
}

func (p *Peer) send(m *dbus.Message) {
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, binary.LittleEndian); err != nil {
		p.t.Errorf("unittest: encode: %v", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	binary.LittleEndian.PutUint32(b.Bytes()[8:], p.serial)
	p.sock.Write(b.Bytes()) // the connection may be gone: its end will say so
}

func (p *Peer) serve(handle func(Call) Reply) {
	rd := &fdReader{sock: p.sock}
	in := bufio.NewReader(rd)
	if !p.authenticate(in) {
		return
	}
	for {
		m, err := readMessage(in, rd)
		if err != nil {
			return
		}
		if m.Type == dbus.TypeMethodCall {
			p.answer(m, rd.take(m), handle)
		}
	}
}

func (p *Peer) authenticate(in *bufio.Reader) bool {
	if b, err := in.ReadByte(); err != nil || b != 0 {
		return false
	}
	answers := map[string]string{
		"AUTH EXTERNAL":     "DATA\r\n",
		"DATA":              "OK 0123456789abcdef0123456789abcdef\r\n",
		"NEGOTIATE_UNIX_FD": "AGREE_UNIX_FD\r\n",
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		line = strings.TrimSpace(line)
		if line == "BEGIN" {
			return true
		}
		p.sock.Write([]byte(answers[line]))
	}
}

func (p *Peer) answer(m *dbus.Message, files []*os.File, handle func(Call) Reply) {
	header := func(f dbus.HeaderField) string {
		s, _ := m.Headers[f].Value().(string)
		return s
	}
	path, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	call := Call{path, header(dbus.FieldInterface) + "." + header(dbus.FieldMember), m.Body, files}
	r := Return(dbus.MakeVariant(p.version))
	if !call.isVersion() {
		r = handle(call)
	}
	for _, f := range files {
		f.Close()
	}
	if r.Silent {
		return
	}
	reply := &dbus.Message{
		Type:    dbus.TypeMethodReply,
		Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(m.Serial())},
		Body:    r.Body,
	}
	if r.Error != "" {
		reply.Type = dbus.TypeError
		reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(r.Error)
	}
	p.send(reply)
	if r.Then != nil {
		r.Then()
	}
}

// fdReader reads the socket and keeps the descriptors that come along.
type fdReader struct {
	sock *net.UnixConn
	fds  []int
}

func (r *fdReader) Read(p []byte) (int, error) {
	oob := make([]byte, 4096)
	n, oobn, _, _, err := r.sock.ReadMsgUnix(p, oob)
	if err != nil {
		return 0, err
	}
	if msgs, e := unix.ParseSocketControlMessage(oob[:oobn]); e == nil {
		for i := range msgs {
			if fds, e := unix.ParseUnixRights(&msgs[i]); e == nil {
				r.fds = append(r.fds, fds...)
			}
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *fdReader) take(m *dbus.Message) (files []*os.File) {
	n, _ := m.Headers[dbus.FieldUnixFDs].Value().(uint32)
	for range min(int(n), len(r.fds)) {
		files = append(files, os.NewFile(uintptr(r.fds[0]), "passed"))
		r.fds = r.fds[1:]
	}
	return files
}

func readMessage(in *bufio.Reader, rd *fdReader) (*dbus.Message, error) {
	// The descriptors of a message come with its first byte.
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	return dbus.DecodeMessageWithFDs(in, rd.fds)
}

package unit

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A call waits for its reply.
type call struct {
	serial uint32
	job    *Job          // to be registered under the path that the reply names
	done   chan struct{} // closed when what follows is set

	body []any
	err  error
}

// A batch is a number of calls that go to the peer in one write, as far as it
// takes so many: systemd answers them in one turn of its event loop.
type batch struct {
	c     *Conn
	calls []*call
	out   []byte
	ends  []int // of each call's frame in out
	fds   []int
}

// maxFlying is how many calls may be without their replies: of one connection
// dbus-daemon takes 128, and refuses more.
const maxFlying = 100

func (c *Conn) batch() *batch { return &batch{c: c} }

// call adds a call to the manager.
func (b *batch) call(m method, args ...any) *call {
	return b.add(systemdName, m, nil, 0, args)
}

// get adds the read of one property.
func (b *batch) get(path dbus.ObjectPath, iface, name string) *call {
	return b.call(method{path, propertyIface, "Get"}, iface, name)
}

// add adds a call; its failure, like its reply, is known to await.
func (b *batch) add(dest string, m method, job *Job, nfds int, args []any) *call {
	k := &call{job: job, done: make(chan struct{})}
	b.calls = append(b.calls, k)
	f, fds, err := encodeCall(dest, m, nfds, args)
	if err == nil {
		err = b.c.track(k)
	} else {
		err = fmt.Errorf("encode %s: %w", m.member, err)
	}
	if err != nil {
		k.err = err
		close(k.done)
		return k
	}
	f.setSerial(k.serial)
	b.out = append(b.out, f...)
	b.ends = append(b.ends, len(b.out))
	b.fds = append(b.fds, fds...)
	return k
}

// track numbers a call and makes it known to the reader.
func (c *Conn) track(k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.serial++
	if c.serial == 0 {
		c.serial = 1 // 0 is not a serial
	}
	k.serial = c.serial
	c.calls[k.serial] = k
	return nil
}

// send writes the batch.
func (b *batch) send(ctx context.Context) error {
	if len(b.out) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		for _, k := range b.calls {
			b.c.forget(k)
		}
		return err
	}
	sent, fds := 0, b.fds
	for ends := b.ends; len(ends) > 0 || sent < len(b.out); fds = nil {
		n, err := b.c.fly(ctx, len(ends))
		if err != nil {
			for _, k := range b.calls {
				b.c.forget(k)
			}
			return err
		}
		end := len(b.out)
		if n < len(ends) {
			end = ends[n-1]
		}
		if err := b.c.put(ctx, b.out[sent:end], fds); err != nil {
			return err
		}
		sent, ends = end, ends[n:]
	}
	return nil
}

// fly waits until calls may go out, n at most, and says how many.
func (c *Conn) fly(ctx context.Context, n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.flying >= maxFlying && c.err == nil && ctx.Err() == nil {
		landed := c.landed
		c.waiting++
		c.mu.Unlock()
		select {
		case <-landed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		c.waiting--
	}
	if c.err != nil {
		return 0, c.err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n = min(n, maxFlying-c.flying)
	c.flying += n
	return n, nil
}

// land is told of every reply, whoever waits for it. mu is held.
func (c *Conn) land() {
	if c.flying > 0 {
		c.flying--
	}
	if c.waiting > 0 {
		c.goOn()
	}
}

// goOn wakes who waits in fly. mu is held.
func (c *Conn) goOn() {
	close(c.landed)
	c.landed = make(chan struct{})
}

// put writes whole frames.
func (c *Conn) put(ctx context.Context, p []byte, fds []int) error {
	c.write.Lock()
	defer c.write.Unlock()
	stop := context.AfterFunc(ctx, func() { c.sock.SetWriteDeadline(time.Unix(1, 0)) })
	err := writeAll(c, p, fds)
	if !stop() {
		c.sock.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		// Half a frame may be out: nothing sensible can follow it.
		c.sock.Close()
		<-c.reader
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return ErrDisconnected
	}
	return nil
}

func writeAll(c *Conn, p []byte, fds []int) error {
	if len(fds) > 0 {
		n, _, err := c.sock.WriteMsgUnix(p, unix.UnixRights(fds...), nil)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	_, err := c.sock.Write(p)
	return err
}

// await waits for the reply of a call that has been sent.
func (c *Conn) await(ctx context.Context, k *call) ([]any, error) {
	select {
	case <-k.done:
		return k.body, k.err
	case <-ctx.Done():
		c.forget(k)
		return nil, ctx.Err()
	}
}

func (c *Conn) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, k.serial)
}

// do is one call to the manager and its reply.
func (c *Conn) do(ctx context.Context, m method, args ...any) ([]any, error) {
	return c.ask(ctx, systemdName, m, 0, args)
}

// ask is one call to anybody and its reply.
func (c *Conn) ask(ctx context.Context, dest string, m method, nfds int, args []any) ([]any, error) {
	b := c.batch()
	k := b.add(dest, m, nil, nfds, args)
	if err := b.send(ctx); err != nil {
		return nil, err
	}
	return c.await(ctx, k)
}

// manager calls a method of the manager object.
func (c *Conn) manager(ctx context.Context, member string, args ...any) ([]any, error) {
	return c.do(ctx, method{managerPath, managerIface, member}, args...)
}

// reply gives a call its answer. The reader calls it.
func (c *Conn) reply(f frame, h header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.land()
	k := c.calls[h.replyTo]
	if k == nil {
		return nil // nobody waits any more
	}
	delete(c.calls, h.replyTo)
	m, err := f.decode()
	if err != nil {
		k.err = err
		close(k.done)
		return err
	}
	if m.Type == dbus.TypeError {
		e := &BusError{}
		e.Name, _ = m.Headers[dbus.FieldErrorName].Value().(string)
		if len(m.Body) > 0 {
			e.Message, _ = m.Body[0].(string)
		}
		k.err = e
	} else {
		k.body = m.Body
		if k.job != nil {
			if path, ok := first[dbus.ObjectPath](m.Body); ok {
				c.jobs[path] = k.job
			} else {
				k.err = fmt.Errorf("%w: reply names no job", errFrame)
			}
		}
	}
	close(k.done)
	return nil
}

// first is the first value of a body, where it is a T.
func first[T any](body []any) (v T, ok bool) {
	if len(body) == 0 {
		return v, false
	}
	v, ok = body[0].(T)
	return v, ok
}

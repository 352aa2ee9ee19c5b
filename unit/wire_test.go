package unit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/godbus/dbus/v5"
)

// message makes the frame of a signal.
func message(t testing.TB, order binary.ByteOrder, path dbus.ObjectPath, body ...any) frame {
	t.Helper()
	m := dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(path),
		dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.systemd1.Manager"),
		dbus.FieldMember:    dbus.MakeVariant("JobRemoved"),
		dbus.FieldSender:    dbus.MakeVariant(":1.7"),
	}}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHeader: our view of a header is godbus's, in both byte orders.
func TestHeader(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, body := range [][]any{nil, {uint32(7), "a.service"}, {map[string]dbus.Variant{"A": dbus.MakeVariant([]string{"x"})}}} {
			f := message(t, order, "/a/bc", body...)
			h, err := f.header()
			if err != nil || h.kind != dbus.TypeSignal || string(h.path) != "/a/bc" || string(h.member) != "JobRemoved" ||
				string(h.iface) != "org.freedesktop.systemd1.Manager" || h.replyTo != 0 {
				t.Errorf("%v: got %+v, %v", order, h, err)
			}
		}
	}
}

// TestReadFrame: frames are cut where they end, however they come in.
func TestReadFrame(t *testing.T) {
	a, b := message(t, binary.LittleEndian, "/a", "x"), message(t, binary.BigEndian, "/b", make([]byte, 300<<10))
	r := io.MultiReader(bytes.NewReader(a), bytes.NewReader(b[:100]), bytes.NewReader(b[100:]), bytes.NewReader(a[:20]))
	var buf []byte
	for _, want := range []frame{a, b} {
		got, err := readFrame(r, buf)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(want))
		}
		buf = got
	}
	if _, err := readFrame(r, buf); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a frame: got %v", err)
	}
	huge := bytes.Clone(a)
	binary.LittleEndian.PutUint32(huge[4:], 1<<31)
	if _, err := readFrame(bytes.NewReader(huge), nil); !errors.Is(err, errFrame) {
		t.Errorf("a frame of 2 GB: got %v", err)
	}
}

// FuzzFrame: whatever a peer sends is a message that godbus and we read alike,
// or an error; a reply to a call of ours is taken or refused, never a panic.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(message(f, binary.LittleEndian, "/org/freedesktop/systemd1", uint32(7), dbus.ObjectPath("/j"), "a.service", "done")))
	f.Add([]byte(message(f, binary.BigEndian, unitPath("a.service"), "org.freedesktop.systemd1.Unit", map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("active")}, []string{})))
	f.Fuzz(func(t *testing.T, p []byte) {
		fr, err := readFrame(bytes.NewReader(p), nil)
		if err != nil {
			return
		}
		h, err := fr.header()
		if m, derr := fr.decode(); err == nil && derr == nil {
			member, _ := m.Headers[dbus.FieldMember].Value().(string)
			if member != string(h.member) || m.Type != h.kind {
				t.Errorf("got %+v, godbus %v", h, m)
			}
		}
		c := &Conn{calls: map[uint32]*call{}, jobs: map[dbus.ObjectPath]*Job{}, watchers: map[*Watcher]struct{}{}}
		c.calls[h.replyTo] = &call{done: make(chan struct{}), job: &Job{done: make(chan struct{})}}
		c.watchers[&Watcher{wake: make(chan struct{}, 1)}] = struct{}{}
		c.dispatch(fr)
	})
}

package unit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/godbus/dbus/v5"
)

// The outer shape of D-Bus messages: what is needed to cut a stream into
// frames, to give a call its serial and to look at a frame's header without
// decoding the rest. Bodies are godbus's.

const (
	fixedHeader = 16        // up to and including the length of the field array
	maxMessage  = 128 << 20 // of the D-Bus specification, 2^27
)

var errFrame = errors.New("malformed D-Bus message")

// A frame is one whole message as it came from the peer.
type frame []byte

// readFrame reads one message into buf, which it may grow, and returns it.
func readFrame(r io.Reader, buf []byte) (frame, error) {
	if cap(buf) < fixedHeader {
		buf = make([]byte, fixedHeader, 4096)
	}
	buf = buf[:fixedHeader]
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	order, err := byteOrder(buf[0])
	if err != nil {
		return nil, err
	}
	body, fields := uint64(order.Uint32(buf[4:])), uint64(order.Uint32(buf[12:]))
	total := fixedHeader + (fields+7)&^7 + body
	if total > maxMessage {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, total)
	}
	for have := len(buf); have < int(total); have = len(buf) {
		// Grow with what has really arrived: a wrong length costs no memory.
		next := min(int(total), max(2*have, 64<<10))
		if cap(buf) < next {
			buf = append(make([]byte, 0, next), buf...)
		}
		buf = buf[:next]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

func byteOrder(b byte) (binary.ByteOrder, error) {
	switch b {
	case 'l':
		return binary.LittleEndian, nil
	case 'B':
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("%w: byte order %q", errFrame, b)
}

// A header is what a frame says about itself. Its byte slices point into the
// frame.
type header struct {
	kind    dbus.Type
	path    []byte
	iface   []byte
	member  []byte
	replyTo uint32
}

// header parses the fields that the reader goes by. All header fields are of
// the types s, o, g and u, anything else is an error: no D-Bus peer sends it.
func (f frame) header() (header, error) {
	var h header
	if len(f) < fixedHeader {
		return h, errFrame
	}
	order, err := byteOrder(f[0])
	if err != nil {
		return h, err
	}
	h.kind = dbus.Type(f[1])
	end := fixedHeader + int(order.Uint32(f[12:]))
	if end > len(f) {
		return h, errFrame
	}
	for at := fixedHeader; at < end; {
		at = (at + 7) &^ 7 // every field is a struct
		if at+4 > end || f[at+1] != 1 || f[at+3] != 0 {
			return h, errFrame
		}
		code, sig := dbus.HeaderField(f[at]), f[at+2]
		at += 4
		var text []byte
		var number uint32
		switch sig {
		case 'g':
			if at >= end || at+1+int(f[at])+1 > end {
				return h, errFrame
			}
			text = f[at+1 : at+1+int(f[at])]
			at += 1 + len(text) + 1
		case 's', 'o':
			if at+4 > end {
				return h, errFrame
			}
			n := uint64(order.Uint32(f[at:]))
			if uint64(at)+4+n+1 > uint64(end) {
				return h, errFrame
			}
			text = f[at+4 : at+4+int(n)]
			at += 4 + int(n) + 1
		case 'u':
			if at+4 > end {
				return h, errFrame
			}
			number = order.Uint32(f[at:])
			at += 4
		default:
			return h, errFrame
		}
		switch code {
		case dbus.FieldPath:
			h.path = text
		case dbus.FieldInterface:
			h.iface = text
		case dbus.FieldMember:
			h.member = text
		case dbus.FieldReplySerial:
			h.replyTo = number
		}
	}
	return h, nil
}

// decode decodes the whole frame.
func (f frame) decode() (*dbus.Message, error) {
	m, err := dbus.DecodeMessage(bytes.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errFrame, err)
	}
	return m, nil
}

// A method is the address of a call.
type method struct {
	path   dbus.ObjectPath
	iface  string
	member string
}

// encodeCall makes the frame of a call, but for its serial, and lists the
// descriptors in args.
func encodeCall(dest string, m method, nfds int, args []any) (frame, []int, error) {
	msg := dbus.Message{
		Type: dbus.TypeMethodCall,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(m.path),
			dbus.FieldInterface:   dbus.MakeVariant(m.iface),
			dbus.FieldMember:      dbus.MakeVariant(m.member),
			dbus.FieldDestination: dbus.MakeVariant(dest),
		},
		Body: args,
	}
	if len(args) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(args...))
	}
	if nfds > 0 {
		msg.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(nfds))
	}
	var buf bytes.Buffer
	fds, err := msg.EncodeToWithFDs(&buf, binary.LittleEndian)
	if err != nil {
		return nil, nil, err
	}
	if len(fds) != nfds {
		return nil, nil, fmt.Errorf("%d descriptors in the message, %d announced", len(fds), nfds)
	}
	return buf.Bytes(), fds, nil
}

// setSerial numbers a frame: godbus keeps the field to itself.
func (f frame) setSerial(serial uint32) {
	binary.LittleEndian.PutUint32(f[8:], serial)
}

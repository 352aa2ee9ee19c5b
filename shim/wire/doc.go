// Package wire is the protocol between a container's supervisor and whoever
// talks to it, with its client.
//
// The protocol is Varlink (https://varlink.org): JSON objects, each ended by a
// NUL byte, over the stream socket that every container has. [Description] is
// the interface in Varlink's own language; varlinkctl shows it and calls it.
// File descriptors are passed beside a message (SCM_RIGHTS), never copied
// through: a field of a message that stands for a descriptor holds its index
// among those passed with that message, as in systemd's own interfaces.
//
// Vocabulary:
//
//   - Call: one request. One with "more" may be answered by several replies.
//   - Session: an attached client or an exec'd process, from its first reply
//     until the exit is told.
//   - Exit: what the supervisor observed at an end. A code nobody observed is
//     absent.
//
// Example:
//
//	c, err := wire.Dial(ctx, store.Control(id))
//	s, err := c.Attach(ctx, wire.AttachOptions{Stdout: w})
//	exit, err := s.Wait(ctx)
//
// The package reconnects nothing and reads no records. It uses sockets as the
// runtime's poller has them and does without package net, which would cost
// each supervisor a third of its memory.
package wire

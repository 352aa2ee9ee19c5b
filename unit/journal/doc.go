// Package journal writes entries to systemd's journal over its native
// protocol: fields with any value, lines of any length, several values of one
// field.
//
// It is a leaf: a raw socket, no package net and no formatting, so that a
// supervisor that stays for the life of its service remains small.
// coreos/go-systemd's sender takes one value for a field, and links net: some
// 60 kB more of every process, with 30 alike.
//
//	c, err := journal.Dial("")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	err = c.Send(
//		journal.Field{Name: "MESSAGE", Value: line},
//		journal.Field{Name: "PRIORITY", Value: []byte("6")},
//	)
//
// # What it does not do
//
// It does not read the journal, and does not decide on priorities or fields.
//
// # Limits
//
// A Send blocks while journald's queue is full; it is the caller's whether that
// holds up more than one thread. journald adds the trusted fields (_PID,
// _SYSTEMD_UNIT …) of the process that sends, at the time it sends.
package journal

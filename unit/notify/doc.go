// Package notify is the side of a service in its talk with the manager that
// started it: the descriptors it inherits, the messages it sends, the
// descriptor store.
//
// It is a leaf: raw sockets, no D-Bus and no package net, so that a supervisor
// that stays for the life of its service remains small.
//
//	in, err := notify.Inherit()
//	if err != nil {
//		return err
//	}
//	m := notify.Manager{Path: in.Notify}
//	err = m.Send(notify.Ready, notify.Status("serving"))
//
// # Vocabulary
//
// What a service is started with is [Inherited]: sockets of socket units and
// descriptors from the store come by the same way and are told apart by their
// names. An [Assignment] is one line of a message. The descriptor store is the
// manager's collection of descriptors that it holds for a service and hands
// back at its next start (FileDescriptorStoreMax=).
//
// # Limits
//
// A message blocks while the manager's queue is full. Whether the manager has
// taken it is not known before [Manager.Barrier] returns.
package notify

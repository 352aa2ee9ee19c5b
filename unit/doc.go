// Package unit speaks to a systemd manager over D-Bus: it starts transient
// units, stops, kills, changes and watches units, and says what state they are
// in.
//
// # Vocabulary
//
// A [Conn] is one connection to one manager: PID 1 for root, through the
// message bus or where there is none by its private socket, and the user
// manager for everybody else. A [Spec] is what is wanted of a unit,
// as plain data; a [Property] is one setting in systemd's own words. A [Job]
// is work that the manager has queued and that ends with a result. A [Status]
// is what the manager knows about a unit at one moment. A [Watcher] is told of
// every change of the units it names.
//
//	c, err := unit.Dial(ctx)
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	job, err := c.StartTransient(ctx, &unit.Spec{
//		Name:    "hello.service",
//		Service: unit.Service{ExecStart: []unit.Command{{Argv: []string{"/bin/echo", "hello"}}}},
//	})
//	if err != nil {
//		return err
//	}
//	err = job.Wait(ctx)
//
// # One table
//
// Every field of a Spec is one row of one table (table.go): its systemd
// property on the bus, its key in a unit file, the first version that knows
// it. The properties of a transient unit, those of [Conn.SetProperties] and the
// text of a drop-in ([Spec.DropIn]) are all made from it.
//
// # Transport
//
// The wire format is godbus/dbus's; the connection is our own. Whoever listens
// to systemd gets the signals of every unit, each a kilobyte or two of
// properties, while one start needs exactly one of them: a frame is therefore
// looked at by its header alone, and decoded only where somebody waits for it.
// On a bus nothing is listened to before somebody has to wait. The whole authentication is sent in one write, calls
// may be pipelined, and no goroutine is made per call.
//
// # What it does not do
//
// It knows nothing of containers, prints and logs nothing, and does not read
// unit files. What a process does that systemd started is in the packages
// [github.com/berthrun/berth/unit/notify] (READY=1, the descriptor store,
// inherited sockets) and [github.com/berthrun/berth/unit/journal]: both link
// no D-Bus.
//
// # Limits
//
// A private connection costs PID 1 two milliseconds, and its share of every
// change of every unit while it is open: with fifty of them idle a start took
// 42 ms instead of 5 (systemd 252). So a process makes one connection, early,
// and closes it as soon as its jobs are done; nothing holds one for the life of
// a service.
//
// A unit whose cgroup still has processes is not collected when it has ended,
// whatever CollectMode= says: it stays loaded, inactive, its name taken.
//
// A private connection does not survive systemctl daemon-reexec: calls in
// flight and waits then return [ErrDisconnected], and the caller dials again.
package unit

// Package engine is what a daemon would be: the verbs (create, run, stop, exec,
// logs, pull …) as functions over a [Host]. There is no daemon: whoever calls
// does the work, and systemd and the disk are what all callers agree on.
//
// A container's life through it:
//
//	Create   image and Spec become a Record and an OCI bundle on disk
//	Start    Record becomes a transient unit: berth-NAME.service runs berth-shim
//	Attach   a client's pipes reach the shim over the container's control socket
//	Stop     the unit is stopped; the shim ends the container
//	Remove   the directory goes
//
// State is never stored: it is computed from the record, the unit and the exit
// record each time it is asked for ([container.StateOf]). What systemctl did to
// a unit is as good as what these functions do.
//
// After StartTransientUnit nothing depends on the caller: it may die at any
// moment. Before that nothing exists that a later call does not sweep.
//
// The package alone knows more than two components. It prints and logs
// nothing; what a user should hear comes as an error or through
// [CreateOptions.Warn].
package engine

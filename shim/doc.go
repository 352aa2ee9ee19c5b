// Package shim supervises one container: it is the main process of the
// container's unit and the only process of berth that stays.
//
// It starts the container from its record, takes its output to the log and to
// attached clients, serves the control socket, waits for the container's init,
// and leaves the exit record. It may be killed at any moment: systemd starts it
// again with the descriptors that it had stored, and it goes on where it was.
//
// Vocabulary:
//
//   - Cold start: a start that makes a container; nothing is in the store of
//     descriptors.
//   - Adoption: a start that finds a running container's descriptors there.
//   - Init: the container's first process, held by a pidfd, never by its number.
//   - Stage: a file below /run to which the kernel moves an output's bytes out
//     of the pipe (splice). Byte n of the stream is byte n of the file, so that
//     positions are file sizes and outlive the process; what everybody has
//     taken is punched out of it again.
//   - Leaf: the container's own cgroup, beside that of the supervisor.
//   - Sweep: what is done for a shim that died and will not be started again.
//
// The package speaks neither D-Bus nor HTTP, knows no images and no networks,
// and reaches the OCI runtime by executing it. Memory and start time are its
// product: no tickers, no JSON but the records and the control socket.
package shim

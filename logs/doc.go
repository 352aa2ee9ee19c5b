// Package logs writes what a container says to its log and reads it back.
//
// Vocabulary:
//
//   - Driver: where a log is kept: "journald", "k8s-file" (a file in the format
//     that Kubernetes and Podman have) or "none".
//   - Entry: one line, or a piece of a long one (Partial).
//   - Sink: the writing side; the supervisor has one for each container.
//   - Read: the reading side; it needs no supervisor.
//
// Lines are bytes: empty ones, trailing blanks, NULs and what is no UTF-8 come
// back as they were written. A line longer than [MaxLine] is kept in pieces.
//
// A sink is told the offset of each batch in its stream, and writing the same
// batch again after a crash does no harm: the file finds out how much of it is
// there, the journal's entries carry the offset, by which Read drops doubles.
//
// The package does not read pipes, keeps no positions and does not rotate
// files.
package logs

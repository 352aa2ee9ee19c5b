// Package container holds what a container is on disk: the [Spec] a user asked
// for, the [Record] that everything after the start call follows from, the
// observations its supervisor leaves behind ([Started], [Exit]), and the
// [Store] that keeps them.
//
// Vocabulary:
//
//   - Spec: the wish, plain data, independent of the machine.
//   - Record: the Spec resolved on this machine: image, command, root file
//     system, runtime. Complete before anything starts; a boot, a restart by
//     systemd or a shim that takes over needs nothing else.
//   - Started: what the shim observed when the container's init began, kept
//     below /run, gone with the run.
//   - Exit: what was observed at the end of a run. A status nobody observed is
//     absent, never a default.
//   - State: computed from the record, the unit and the exit record; stored
//     nowhere.
//
// One directory per container, one symbolic link per name, rename(2) as the
// commit, flock(2) per object: no database and no lock that two containers
// share is on the path of a start.
//
// The package does not know systemd, images or runtimes, and imports the
// standard library only (golang.org/x/sys for flock aside).
package container

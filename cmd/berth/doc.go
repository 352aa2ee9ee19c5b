// Command berth runs containers that systemd supervises.
//
// It is a skin: it turns flags into a [container.Spec] or into options of a
// verb, calls one function of package engine, and turns the answer into text
// and an exit code. No engine runs behind it; what has to happen happens in
// this process or in systemd.
//
// How the files are cut:
//
//   - main.go, app.go: the way from os.Args to one verb and back to an exit code
//   - args.go: brings a command line into the one form that has no ambiguity
//   - help.go, errors.go: nearly every sentence that a user reads
//   - parse_*.go: one value of one flag each, pure functions
//   - spec.go: the flags of run and create as a [container.Spec]
//   - session.go, terminal.go, detach.go, proxy.go: a container in the foreground
//   - whole.go: how it becomes the program that can do everything
//   - format.go, table.go, human.go: templates, columns, quantities
//   - the rest: a file per verb, or per family of verbs
//
// Exit codes are Docker's and Podman's: 125 when berth itself fails, 126 and
// 127 when a command cannot be executed or found, otherwise the container's
// own, 128+n after signal n. Only errors.go knows them.
//
// It does not: keep state, talk to systemd or a registry, or know a file
// format. Those are packages engine and below.
package main

// Package runtime runs containers from OCI bundles: what runc is to Docker.
// cmd/berth-runtime is its command line.
//
//	c, err := runtime.Create(ctx, "/run/berth-runtime", "web", "/path/to/bundle", nil)
//	err = c.Start(ctx)
//	child, err := c.Exec(ctx, runtime.ProcessLike(base, []string{"ps"}), nil)
//	err = c.Kill(unix.SIGTERM)
//	err = c.Delete(ctx, false)
//
// # Words
//
// The configuration is a bundle's config.json, used as runtime-spec's own
// types. A launch is one create or run on its way, an entry one exec. The init
// is the container's first process; a child is a container's process that is
// ours to wait for. A record is what is kept of a container in the store, a
// directory with one directory a container (state.go lists its files).
//
// # How a container is made
//
// A Go process of several threads can unshare and join most namespaces, but
// thread by thread, and cannot run Go in a process that it has forked. Other
// runtimes therefore start themselves again, inside; that second start of Go,
// and the talk with it, is most of their time. Here it does not happen. Two
// parties share the work:
//
// The init is cloned (clone3) with all new namespaces and the cgroup at once.
// Being a copy of a Go process that must not run Go, it runs a program: a list
// of system calls with their arguments, in memory that it shares with the
// runtime (program.go). The interpreter of that list is sixty lines of assembly
// (interp_*.s) that need no stack and nothing else of the process. It was
// copied in front of the list, so the first thing that the init does is to
// close all descriptors and to unmap everything but those few pages: Go's heap,
// the binary, the stacks. From then on it is a process of four pages that
// knows nothing. It makes by itself only what depends on who makes it: file
// systems that belong to its pid, cgroup or user namespace. Those it sends as
// detached mounts (fsmount, SCM_RIGHTS) over a socket pair. A step that fails
// sends its own words and the error number over the same pair and ends the
// process.
//
// Everything else is ordinary Go on one thread of the runtime, locked for ever
// (setup.go). It joins the init's mount, network, IPC and UTS namespaces, which
// a single thread may do, and puts the root file system together while the
// init waits: mounts, devices, terminal, masks, and the pivot_root that moves
// the init's root too. Then it writes the rest of the program (limits,
// capabilities, ids, seccomp, execve), sends the descriptors that this needs,
// and is done. The thread ends with its goroutine; hooks of the host's
// namespaces run on other threads (onHost).
//
// So a user namespace needs no second stage either: the thread stays outside,
// has root's rights over the namespace from there, and makes inodes as the
// container's root by setting its file system ids (rootfs.as). Where the user
// namespace exists already, the init joins it and clones once more
// (program.cloneAgain). Time and mount namespaces that exist it joins by itself,
// too; a new time namespace is the thread's children's, made before the clone.
//
// The init's descriptors are known by their numbers, since it closed all but
// those: 0 to 2, the preserved ones, then the pair, then the start socket;
// whatever it opens or receives gets the next number.
//
// A container without a mount namespace of its own, or with --no-pivot, is in a
// changed root (root.go): what the others have by pivot_root, its processes do
// for themselves, and Delete unmounts what it has left in the other namespace.
//
// What a process can be given from outside is given so: priorities, hard limits,
// the files in /proc/PID/attr, opened by the runtime and only written by the
// process. A seccomp filter with a listener has the process wait without a
// system call (listener.go).
//
// # How a container is started
//
// Between create and start the init waits in accept on a socket in the
// container's directory. Start connects, runs the startContainer hooks and
// says go; the connection, close-on-exec, is where a failing execve is
// reported, and its closing without a report is the proof that the program
// runs. A Start that is killed in between leaves the init accepting the next.
// Run has no such socket: the pair plays its part.
//
// The state is computed, never stored: the pid with its start time lives or
// not, the start socket's file is there or not, the cgroup is frozen or not.
//
// Exec is the same with another list, done by two processes: the first, outside
// of the container's pid namespace but in its cgroup, throws away what is ours
// and joins the namespaces by the init's pidfd in one setns; its clone is born in
// there and goes on like an init (entry.write says why).
//
// # Cgroups
//
// A container has one cgroup of version 2. Who made the cgroups above it, and
// limits them, is told by the caller, in one of three ways.
//
// As it is for any engine with a cgroupfs driver: linux.cgroupsPath is made, all
// controllers are enabled on the way to it (cgroup.enable), the limits of
// linux.resources are written, and one that cannot be set is an error by its
// name. What is asked of cgroup v1 alone is an UnsupportedError.
//
// With CreateOptions.Delegated, as berth-shim has it: the cgroup is a leaf in
// the unit of systemd that the container runs in, the unit has the limits, and
// the shim keeps a copy of them in the leaf for the container to read. What the
// leaf lacks a file for is passed over. The rules for devices are the unit's too:
// the configuration has none.
//
// With CreateOptions.Place, as --systemd-cgroup has it: the caller makes the
// cgroup, around the init, which exists and waits (a scope of systemd is made of
// processes); then as in the first way, but for the path.
//
// Rules for devices are a program of eBPF that the kernel asks at each open and
// mknod (devicefilter.go), attached beside others that the cgroup may have, and
// replaced in one step by Update.
//
// # Checkpoint and restore
//
// Checkpoint and restore are runtime/checkpoint's, which makes a container of
// CRIU's processes by Revive.
//
// # Safety
//
// No path of the container is ever resolved as a string: rootfs.open asks the
// kernel to stay below the root and to refuse magic links (openat2), and mounts
// are attached to what it opened (move_mount). The working directory and the
// program are opened so by the runtime and handed over as descriptors
// (CVE-2024-21626). Sources of binds are opened in the host's namespace before.
// /dev/null is checked to be it before it masks anything, and /dev/pts/ptmx to
// be one of a devpts. Only a proc can be on /proc, over no symbolic link, and what
// is masked in it is found from the mount itself, not by name (CVE-2019-16884,
// CVE-2023-27561). close_range comes first and again before the program.
//
// Having unmapped the runtime's binary, the process replaces it by the
// container's own program as what /proc/PID/exe means (PR_SET_MM_MAP), so a
// container cannot reach the binary through a process of ours that waits or
// enters, nor by executing /proc/self/exe (CVE-2019-5736). A process that enters
// is seen in the container only after that, and after it has joined
// (entry.write). What is left: a process of the container with CAP_SYS_PTRACE, in
// no user namespace of its own, can catch one that enters before it has dropped
// its capabilities, if there is a seccomp filter and not noNewPrivileges; a
// container that is created in another's pid namespace (a pod's) shows that
// namespace its init while that still has the host's root, which a process there
// with CAP_SYS_PTRACE in the same user namespace can use; where the kernel lacks
// CONFIG_CHECKPOINT_RESTORE the binary stays.
//
// The tests attack_*_test.go do what they should not be able to do.
//
// # What it does not do
//
// It talks to no systemd: see Cgroups. What only cgroup v1 has, or what the kernel
// lacks, is an
// UnsupportedError: SELinux, AppArmor and resctrl where they are not there, ids of
// a file system that cannot be mapped. SELinux and resctrl have been run by nobody
// yet. A time namespace belongs to the runtime's user namespace, and
// startContainer hooks see the host's clocks in a start of its own: a process of
// several threads cannot join one. It loads no AppArmor profile: berth's own is
// loaded by the engine, before the runtime is executed. SPEC.md says of every
// field where it is done.
//
// It needs Linux 5.15 (mount_setattr, openat2, clone3 into a cgroup, cgroup.kill)
// on amd64 or arm64.
package runtime

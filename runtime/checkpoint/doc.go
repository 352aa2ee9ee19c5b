// Package checkpoint writes a running container's processes to files and makes
// them again from there, with CRIU.
//
// An image is the directory of those files; a pre-dump is an image of the memory
// alone, which a later one refers to as its parent. CRIU is asked over a socket
// (criu swrk, peer.go) in the messages of go-criu's package rpc: go-criu's own
// client cannot receive the terminal that a restore hands out.
//
// # What CRIU is told
//
// CRIU makes mounts of the kernel's own file systems and of tmpfs again, with
// their content. What is the host's it must be told by name, at both times: the
// root, the binds of the configuration and the files that masks consist of
// (external.go). Namespaces that the configuration joins by path are external
// too, network and pid. The standard descriptors of the init are noted in
// descriptors.json, as runc does; pipes among them are replaced by the caller's
// own when the container is restored.
//
// A restore takes place in a mount namespace of its own, where the root file
// system is mounted as for a start, so that nothing is mounted on the host; CRIU
// runs in the container's cgroup. The restored init is a child of the calling
// process (rst_sibling), and from the moment that CRIU says so a container like
// any other.
//
// # What it does not do
//
// Standard descriptors that are files of the host's cannot be checkpointed: they
// have to be pipes, a terminal or /dev/null. It copies no root file system: who moves a container to another machine brings
// the same files. Mounts below a recursive bind are not known to CRIU, nor is the
// propagation of a bind after a restore. CRIU has to be at least 3.0 (3.17 on Linux
// 6.1 is what the tests use).
package checkpoint

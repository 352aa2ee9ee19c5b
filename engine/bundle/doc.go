// Package bundle turns a container's [container.Spec] and its image's
// configuration into an OCI runtime bundle: config.json and the files of the
// host that are mounted into every container (hosts, hostname, resolv.conf).
//
// The bundle is made once, at create, and holds for every start by either
// door. The one thing that only the start knows, the cgroup, is a placeholder
// in it ([container.CgroupPlaceholder]).
//
// Defaults are Podman's where Docker's and Podman's differ: eleven
// capabilities, a private cgroup namespace. The seccomp profile is Docker's.
//
// It starts nothing, mounts nothing, and does not look into the image store:
// users and groups are looked up in the layers as they lie ([Tree]).
package bundle

// Images makes the OCI images that the tests run, from unpacked Debian packages, and the storage of a registry that
// serves them.
//
//	images build                  what is missing or stale, into $BERTH_CACHE/images; prints that folder
//	images list                   name, digest, size of what is built
//	images push REGISTRY [NAME]   to a running registry, as localhost:5000
//	images serve ADDR             a small registry of its own, for where Debian's is not installed
//
// $BERTH_CACHE/images is a link to a tree that a box or VM takes as a layer:
//
//	/var/lib/berth-test/registry        the storage of Debian's docker-registry, with everything in it
//	/usr/share/berth-test/oci           an OCI layout with everything; org.opencontainers.image.ref.name is NAME:TAG
//	/usr/share/berth-test/archives      busybox as oci-archive and docker-archive (.oci.tar, .docker.tar)
//
// A blob is one file with several names (hard links) within the tree, so the tree is never to be written.
//
// The same packages give the same digests: times are fixed, entries sorted, random content seeded.
package main

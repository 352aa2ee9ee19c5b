// Package image is the image store: it names, fetches, verifies, unpacks and
// removes container images, and reads and writes image archives.
//
// A store is a directory in OCI image layout, which any OCI tool can read,
// with the unpacked layers beside the blobs:
//
//	oci-layout
//	index.json             one line a name: reference → manifest
//	blobs/sha256/HEX       manifests, configurations, layers as they came
//	layers/HEX             layer unpacked for overlayfs, by its DiffID
//	layers/chain-HEX       one that depends on the layers below it, by ChainID
//	tmp/                   what is not committed yet, or not deleted yet
//	lock                   flock(2): writers of index.json, garbage collection
//
// Vocabulary: a reference is a name as users write it, always kept in its full
// form (docker.io/library/nginx:latest). The ID of an image is the digest of
// its configuration. A DiffID is the digest of a layer's uncompressed tar. A
// lease is a file in tmp/ that lists what a running operation needs; the flock
// its process holds tells whether it lives.
//
// What is in place is complete: blobs and layers are written under tmp/,
// verified against digest, size and DiffID, synced, and renamed. A process
// killed at any moment leaves either nothing or something in tmp/, which the
// next operation continues or sweeps. Readers take no lock: index.json is
// replaced by rename, and everything it names is in place before.
//
// The package does not mount, prints nothing and keeps no state outside the
// directory. It builds and pushes nothing.
package image

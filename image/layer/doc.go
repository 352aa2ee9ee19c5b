// Package layer unpacks one image layer (a tar stream) into a directory that
// overlayfs can use as a lowerdir.
//
// A layer is a difference: besides files it carries whiteouts. The archive
// spells them as names (".wh.NAME" removes NAME of the layers below,
// ".wh..wh..opq" empties the directory it stands in); on disk they are what
// overlayfs understands: a character device 0/0, and the extended attribute
// trusted.overlay.opaque (user.overlay.opaque without privilege).
//
// The archive is not trusted. Every path is resolved by the kernel inside the
// root of the layer (openat2 with RESOLVE_IN_ROOT, Linux 5.6), so that a
// symlink made by an earlier entry leads nowhere but into the layer. Names
// that climb above the root are refused, attributes in overlayfs' own name
// space are dropped, sizes and counts are bounded.
//
// Vocabulary: an implicit directory is one the archive mentions only as the
// parent of something; a foreign link is a hard link whose target lies in a
// layer below. Both depend on the layers below, and Settle finishes them once
// those exist. A layer with neither is self-contained: unpacked once, it
// serves every image.
//
// The package does not decompress, does not verify digests and does not sync:
// the store does.
package layer

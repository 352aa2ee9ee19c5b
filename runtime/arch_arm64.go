package runtime

// addressSpaceEnds are the ends a process's address space may have, the
// largest first: munmap refuses a range that goes beyond it.
var addressSpaceEnds = []uint64{1 << 52, 1 << 48, 1 << 47, 1 << 42, 1 << 39}

// machine is the row of abisOf.
const machine = "arm64"

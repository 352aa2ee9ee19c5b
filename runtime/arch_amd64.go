package runtime

// addressSpaceEnds are the ends a process's address space may have, the
// largest first: munmap refuses a range that goes beyond it.
var addressSpaceEnds = []uint64{1<<47 - 4096}

// machine is the row of abisOf.
const machine = "amd64"

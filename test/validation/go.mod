// The OCI's validation programs, at a pinned version: a module of its own, so that nothing of it is the product's.
module github.com/berthrun/berth/test/validation

go 1.26

require github.com/opencontainers/runtime-tools v0.9.1-0.20251114084447-edf4cb3d2116

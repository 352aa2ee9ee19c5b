// Package cpushares translates the CPU shares of cgroup v1, which Docker's flags
// and the OCI runtime specification have kept, for cgroup v2.
package cpushares

import "math"

// Weight maps shares (2 to 262144, 1024 by default) to cpu.weight (1 to 10000,
// 100 by default): 10 to the power of the parabola over log2(shares) on which
// the ends and the defaults of both scales meet. So do crun since 1.23
// (github.com/containers/crun/pull/1767) and runc since 1.3.2
// (github.com/opencontainers/cgroups/pull/20); the linear map before that made
// 39 of the default.
func Weight(shares uint64) uint64 {
	l := math.Log2(float64(min(max(shares, 2), 262144)))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l-126)/612)))
}

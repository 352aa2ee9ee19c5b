package engine

import (
	"errors"
	"fmt"

	"github.com/berthrun/berth/container"
)

// checkResources refuses limits that contradict each other or mean nothing, as
// Docker does, rather than have a unit without them.
func checkResources(s *container.Spec) error {
	r := &s.Resources
	for _, l := range []struct {
		flag  string
		value int64
	}{
		{"memory", r.Memory}, {"memory-reservation", r.MemoryReservation}, {"cpus", r.NanoCPUs}, {"shm-size", s.ShmSize},
	} {
		if l.value < 0 {
			return fmt.Errorf("%s %d: is less than nothing", l.flag, l.value)
		}
	}
	switch {
	case r.MemorySwap < -1:
		return fmt.Errorf("memory-swap %d: must be -1, for no limit, or the sum of memory and swap", r.MemorySwap)
	case r.MemorySwap > 0 && r.Memory == 0:
		return errors.New("memory-swap without memory: it is the sum of memory and swap, so give both")
	case r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return fmt.Errorf("memory-swap %d: is less than memory, %d: it is the sum of memory and swap", r.MemorySwap, r.Memory)
	case r.Memory > 0 && r.MemoryReservation > r.Memory:
		return fmt.Errorf("memory-reservation %d: is more than memory, %d", r.MemoryReservation, r.Memory)
	}
	return nil
}

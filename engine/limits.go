package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berthrun/berth/container"
)

// check refuses what cannot be meant, before anything is pulled or made.
func check(s *container.Spec) error {
	if err := checkResources(s); err != nil {
		return err
	}
	return checkNetwork(s)
}

// checkNetwork refuses what only the container whose network is shared can set.
func checkNetwork(s *container.Spec) error {
	if !strings.HasPrefix(s.Network, "container:") {
		return nil
	}
	for flag, given := range map[string]bool{
		"add-host": len(s.AddHosts) > 0, "dns": len(s.DNS) > 0, "dns-search": len(s.DNSSearch) > 0, "dns-option": len(s.DNSOptions) > 0,
	} {
		if given {
			return fmt.Errorf("%s: cannot be had together with network %s, whose hosts and resolv.conf are that container's", flag, s.Network)
		}
	}
	return nil
}

// sharedNetwork is the directory of the container whose network s shares, ""
// where it shares none.
func sharedNetwork(h *Host, s *container.Spec) (string, error) {
	dir := ""
	for range maxShared {
		name, ok := strings.CutPrefix(s.Network, "container:")
		if !ok {
			return dir, nil
		}
		r, err := h.Containers.Load(name)
		if err != nil {
			return "", fmt.Errorf("network %s: %w", s.Network, err)
		}
		dir, s = h.Containers.Dir(r.ID), &r.Spec
	}
	return "", fmt.Errorf("network %s: its containers share each other's", s.Network)
}

// maxShared bounds a chain of containers each of which shares the next one's network.
const maxShared = 16

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

package engine

import (
	"strings"
	"testing"

	"github.com/berthrun/berth/container"
)

func TestCheckResources(t *testing.T) {
	for _, test := range []struct {
		r    container.Resources
		want string // in the error; "" for none
	}{
		{container.Resources{}, ""},
		{container.Resources{Memory: 100, MemorySwap: 100, MemoryReservation: 100}, ""},
		{container.Resources{MemorySwap: -1}, ""},
		{container.Resources{MemorySwap: 100}, "memory-swap without memory"},
		{container.Resources{Memory: 100, MemorySwap: 99}, "memory-swap 99: is less than memory, 100"},
		{container.Resources{Memory: 100, MemorySwap: -2}, "memory-swap -2"},
		{container.Resources{Memory: -1}, "memory -1"},
		{container.Resources{Memory: 100, MemoryReservation: 101}, "memory-reservation 101: is more"},
		{container.Resources{NanoCPUs: -1}, "cpus -1"},
	} {
		err := checkResources(&container.Spec{Resources: test.r})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: got %v, want %q", test.r, err, test.want)
		}
	}
	if err := checkResources(&container.Spec{ShmSize: -1}); err == nil || !strings.Contains(err.Error(), "shm-size -1") {
		t.Errorf("got %v, want an error of shm-size", err)
	}
}

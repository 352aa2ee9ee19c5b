package main

import (
	"errors"
	"strings"
	"testing"
)

func TestContendersTakeTurns(t *testing.T) {
	var order strings.Builder
	note := func(name string) func(int) error {
		return func(int) error { order.WriteString(name); return nil }
	}
	failing := contender{name: "c", do: func(round int) error {
		order.WriteString("c")
		if round == 1 {
			return errors.New("broken")
		}
		return nil
	}}
	b := &bench{}
	results := b.race(t.Context(), 1, 3, []contender{{name: "a", do: note("a")}, {name: "b", do: note("b")}, failing})
	if got, want := order.String(), "abc"+"bca"+"cab"+"ab"; got != want {
		t.Errorf("order is %s, want %s", got, want)
	}
	for i, want := range []int{3, 3, 1} {
		if got := len(results[i].Samples); got != want {
			t.Errorf("%s has %d samples, want %d", results[i].Name, got, want)
		}
	}
	if results[2].Error == "" || results[2].ok() {
		t.Errorf("a contender that failed has the result %+v", results[2])
	}
}

package main

import (
	"errors"
	"strings"
)

// defaultDetachKeys leave a container and let it run.
const defaultDetachKeys = "ctrl-p,ctrl-q"

// parseDetachKeys reads a sequence of keys: letters, or ctrl- and one of a-z, @,
// [, \, ], ^ and _, separated by commas. Empty: no such keys.
func parseDetachKeys(s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(s, ",") {
		b, ok := detachKey(key)
		if !ok {
			return nil, errors.New("keys separated by commas, each a character or ctrl- and one of a-z @ [ \\ ] ^ _, e.g. " + defaultDetachKeys)
		}
		keys = append(keys, b)
	}
	return keys, nil
}

func detachKey(key string) (byte, bool) {
	if len(key) == 1 {
		return key[0], key[0] < 0x80
	}
	c, ok := strings.CutPrefix(strings.ToLower(key), "ctrl-")
	if !ok || len(c) != 1 {
		return 0, false
	}
	switch {
	case c[0] >= 'a' && c[0] <= 'z':
		return c[0] - 'a' + 1, true
	case strings.Contains("@[\\]^_", c):
		return strings.ToUpper(c)[0] - '@', true
	}
	return 0, false
}

// detacher looks for the detach keys in what is typed. Keys that may be their
// beginning are held back until the next one tells.
type detacher struct {
	keys []byte
	held int // so many of keys have been typed
}

// feed takes what was typed and returns what is for the container. With found
// the sequence was complete: what came after it is dropped.
func (d *detacher) feed(typed []byte) (pass []byte, found bool) {
	if len(d.keys) == 0 {
		return typed, false
	}
	pass = make([]byte, 0, len(typed)+d.held)
	for _, b := range typed {
		for d.held > 0 && b != d.keys[d.held] {
			next := d.fallback()
			pass = append(pass, d.keys[:d.held-next]...)
			d.held = next
		}
		if b != d.keys[d.held] {
			pass = append(pass, b)
			continue
		}
		if d.held++; d.held == len(d.keys) {
			d.held = 0
			return pass, true
		}
	}
	return pass, false
}

// fallback is the length of the longest shorter beginning of keys that ends
// what is held.
func (d *detacher) fallback() int {
	held := string(d.keys[:d.held])
	for n := d.held - 1; n > 0; n-- {
		if strings.HasSuffix(held, string(d.keys[:n])) {
			return n
		}
	}
	return 0
}

// rest is what is held back when the input ends.
func (d *detacher) rest() []byte {
	held := d.keys[:d.held]
	d.held = 0
	return held
}

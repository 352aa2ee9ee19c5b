package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

var errSize = errors.New("a number of bytes, or one with b, k, m, g or t after it, e.g. 512m")

// parseSize reads a quantity of memory: 512m, 1.5g, 64KiB. A k is 1024.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	shift := 0
	switch unit {
	case "":
	case "k":
		shift = 10
	case "m":
		shift = 20
	case "g":
		shift = 30
	case "t":
		shift = 40
	case "p":
		shift = 50
	default:
		return 0, errSize
	}
	if digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, errSize
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n > math.MaxInt64>>shift {
			return 0, errSize
		}
		return n << shift, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if f *= float64(int64(1) << shift); err != nil || f >= math.MaxInt64 {
		return 0, errSize
	}
	return int64(f), nil
}

// parseSwap is a size, or -1 for as much as there is.
func parseSwap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	n, err := parseSize(s)
	if err != nil {
		return 0, errors.New("-1 (no limit), or " + errSize.Error())
	}
	return n, nil
}

// parseCPUs reads a number of CPUs into billionths of one, without the rounding
// that a float would bring.
func parseCPUs(s string) (int64, error) {
	errCPUs := errors.New("a number of CPUs, 0.01 or more, e.g. 1.5")
	whole, frac, _ := strings.Cut(s, ".")
	if whole == "" {
		whole = "0"
	}
	if len(frac) > 9 || strings.Trim(whole+frac, "0123456789") != "" || s == "" || s == "." {
		return 0, errCPUs
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", 9-len(frac)), 10, 64)
	if err != nil || n != 0 && n < 1e7 {
		return 0, errCPUs
	}
	return n, nil
}

// parseCPUSet checks a list such as 0-3,5 and returns it as it is.
func parseCPUSet(s string) (string, error) {
	errSet := errors.New("a list of numbers and ranges, e.g. 0-3,5")
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return "", errSet
		}
		if !isRange {
			continue
		}
		if b, err := strconv.ParseUint(to, 10, 16); err != nil || b < a {
			return "", errSet
		}
	}
	return s, nil
}

// parseInt returns a parser of whole numbers between low and high.
func parseInt(low, high int64, want string) func(string) (int64, error) {
	return func(s string) (int64, error) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < low || n > high {
			return 0, errors.New(want)
		}
		return n, nil
	}
}

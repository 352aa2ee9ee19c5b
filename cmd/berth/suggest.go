package main

import "slices"

// nearest returns the candidate that a typing error could have made of word, or
// "" where none is near: at most a third of its letters may differ.
func nearest(word string, candidates []string) string {
	slices.Sort(candidates)
	best, bestDistance := "", len(word)/3+2
	for _, c := range candidates {
		d := distance(word, c)
		if d >= max(len(word), len(c)) {
			continue
		}
		if d < bestDistance || d == bestDistance && best != "" && common(word, c) > common(word, best) {
			best, bestDistance = c, d
		}
	}
	return best
}

// common is how many letters a and b begin with alike.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance counts the letters to insert, drop, replace or swap with their
// neighbour to come from a to b (optimal string alignment).
func distance(a, b string) int {
	rows := [3][]int{}
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[(i+2)%3], rows[i%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}

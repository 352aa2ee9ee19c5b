package main

import (
	"bufio"
	"strings"
	"unicode/utf8"
)

// Columns are at least so wide, and so far apart, as Podman's.
const (
	columnMin = 10
	columnGap = 2
)

// writeTable writes rows in columns. Names and labels are other people's: what
// would move the cursor is replaced.
func writeTable(w *bufio.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
			if i == len(widths) {
				widths = append(widths, columnMin)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			w.WriteString(cell)
			if i < len(row)-1 {
				for range widths[i] - utf8.RuneCountInString(cell) + columnGap {
					w.WriteByte(' ')
				}
			}
		}
		w.WriteByte('\n')
	}
}

// printable replaces control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

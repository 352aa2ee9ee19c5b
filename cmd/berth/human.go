package main

import (
	"strconv"
	"time"
)

// humanDuration is about how long d is, in one unit, as Docker words it.
func humanDuration(d time.Duration) string {
	count := func(n int, unit string) string { return strconv.Itoa(n) + " " + unit }
	seconds, minutes, hours := int(d.Seconds()), int(d.Minutes()), int(d.Hours()+0.5)
	switch {
	case seconds < 1:
		return "Less than a second"
	case seconds == 1:
		return "1 second"
	case seconds < 60:
		return count(seconds, "seconds")
	case minutes == 1:
		return "About a minute"
	case minutes < 60:
		return count(minutes, "minutes")
	case hours == 1:
		return "About an hour"
	case hours < 48:
		return count(hours, "hours")
	case hours < 24*7*2:
		return count(hours/24, "days")
	case hours < 24*30*2:
		return count(hours/24/7, "weeks")
	case hours < 24*365*2:
		return count(hours/24/30, "months")
	}
	return count(hours/24/365, "years")
}

// ago is the time since t, empty where t is not known.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return humanDuration(now.Sub(t)) + " ago"
}

// humanSize is n bytes in three digits and a decimal unit: 7.46 MB.
func humanSize(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	f, i := float64(n), 0
	for f >= 999.5 && i < len(units)-1 { // 999.7 would be shown as 1000
		f /= 1000
		i++
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + " " + units[i]
}

// timeText is a moment as tables and templates show it.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 -0700 MST")
}

// shortID is an ID as tables show it: 12 digits, without the algorithm.
func shortID(id string) string {
	if len(id) > 7 && id[:7] == "sha256:" {
		id = id[7:]
	}
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

// cut shortens s to n characters and three dots.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i] + "..."
		}
		n--
	}
	return s
}

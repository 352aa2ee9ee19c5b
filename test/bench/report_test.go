package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func times(ms ...float64) []sample {
	var s []sample
	for _, v := range ms {
		s = append(s, sample{Wall: v})
	}
	return s
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 4}, 3},
	} {
		if got := median(times(tc.in...), wall); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestBarsAreMetByFiguresOnly(t *testing.T) {
	ours, theirs := result{Name: berth, Value: 30}, result{Name: podman, Value: 100}
	for name, tc := range map[string]struct {
		results []result
		bar     bar
		want    bar
	}{
		"met":          {[]result{ours, theirs}, bar{Name: berth, Of: podman, Limit: 0.35}, bar{Got: 0.3, Met: true}},
		"missed":       {[]result{ours, theirs}, bar{Name: berth, Of: podman, Limit: 0.25}, bar{Got: 0.3}},
		"absolute":     {[]result{ours}, bar{Name: berth, Limit: 30}, bar{Got: 30, Met: true}},
		"no figure":    {[]result{theirs}, bar{Name: berth, Of: podman, Limit: 1}, bar{}},
		"no reference": {[]result{ours}, bar{Name: berth, Of: podman, Limit: 1}, bar{}},
		"failed":       {[]result{{Name: berth, Value: 30, Error: "exit status 1"}, theirs}, bar{Name: berth, Of: podman, Limit: 1}, bar{}},
		"zero":         {[]result{{Name: berth}, theirs}, bar{Name: berth, Of: podman, Limit: 1}, bar{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.bar
			(&table{Results: tc.results}).judge(&got)
			tc.want.Name, tc.want.Of, tc.want.Limit = tc.bar.Name, tc.bar.Of, tc.bar.Limit
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("bar (-want +got):\n%s", diff)
			}
		})
	}
}

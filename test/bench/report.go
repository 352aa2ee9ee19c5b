package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// result is what a contender did in one table.
type result struct {
	Name    string   `json:"name"`
	Samples []sample `json:"samples,omitempty"` // of times
	Value   float64  `json:"value"`             // of what is no time; the median of times
	Note    string   `json:"note,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func (r result) ok() bool { return r.Error == "" && (len(r.Samples) > 0 || r.Value > 0) }

// bar is what a table's figures are held against: Name's figure is at most Limit times Of's, or, without Of, at most
// Limit.
type bar struct {
	Name  string  `json:"name"`
	Of    string  `json:"of,omitempty"`
	Limit float64 `json:"limit"`
	Got   float64 `json:"got"`
	Met   bool    `json:"met"`
}

// table is one comparison.
type table struct {
	Row     string   `json:"row"`
	Title   string   `json:"title"`
	Unit    string   `json:"unit"`
	Ref     string   `json:"ref,omitempty"` // whose figure is 1.00
	More    bool     `json:"more_is_better,omitempty"`
	Results []result `json:"results"`
	Bars    []bar    `json:"bars,omitempty"`
}

// report is what is printed, table by table, and written at the end.
type report struct {
	Date   time.Time          `json:"date"`
	About  map[string]string  `json:"about"`
	Tables []table            `json:"tables"`
	Took   map[string]float64 `json:"seconds"`
}

func (r *report) begin(w io.Writer) {
	r.Date, r.Took = time.Now().UTC().Truncate(time.Second), map[string]float64{}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(r.About)) {
		parts = append(parts, k+" "+r.About[k])
	}
	fmt.Fprintln(w, strings.Join(parts, ", "))
}

func (r *report) took(row string, d time.Duration) { r.Took[row] = d.Seconds() }

// add completes a table, prints it and keeps it.
func (b *bench) add(t table) {
	for _, e := range allEngines {
		if err := b.absent[e.name]; err != nil && t.wants(e) {
			t.Results = append(t.Results, result{Name: e.name, Error: err.Error()})
		}
	}
	for i := range t.Results {
		r := &t.Results[i]
		if r.Error == "" && len(r.Samples) > 0 {
			r.Value = median(r.Samples, wall)
		}
	}
	for i := range t.Bars {
		t.judge(&t.Bars[i])
	}
	t.print(os.Stdout)
	b.report.Tables = append(b.report.Tables, t)
}

// wants is whether an engine that is absent is missed: where a bar names it.
func (t *table) wants(e engine) bool {
	return slices.ContainsFunc(t.Bars, func(v bar) bool { return v.Name == e.name || v.Of == e.name })
}

func (t *table) find(name string) result {
	for _, r := range t.Results {
		if r.Name == name {
			return r
		}
	}
	return result{}
}

// judge leaves a bar unmet where a figure is missing.
func (t *table) judge(v *bar) {
	r := t.find(v.Name)
	if !r.ok() {
		return
	}
	v.Got = r.Value
	if v.Of != "" {
		of := t.find(v.Of)
		if !of.ok() {
			v.Got = 0
			return
		}
		v.Got /= of.Value
	}
	v.Met = v.Got <= v.Limit
}

func (t *table) print(w io.Writer) {
	timed := slices.ContainsFunc(t.Results, func(r result) bool { return len(r.Samples) > 1 })
	fmt.Fprintf(w, "\n%s\n", t.Title)
	head := fmt.Sprintf("  %-34s %10s", "", t.Unit)
	if timed {
		head += fmt.Sprintf(" %9s %9s", "least", "most")
	}
	if slices.ContainsFunc(t.Results, func(r result) bool { return len(r.Samples) > 0 }) {
		head += fmt.Sprintf(" %9s", "CPU")
	}
	if t.Ref != "" {
		head += fmt.Sprintf("  of %s", short(t.Ref))
	}
	fmt.Fprintln(w, head)
	for _, r := range t.Results {
		fmt.Fprintf(w, "  %-34s ", r.Name)
		if r.Error != "" {
			fmt.Fprintf(w, "%10s  %s\n", "-", oneLine(r.Error))
			continue
		}
		fmt.Fprintf(w, "%10s", figure(r.Value))
		if timed && len(r.Samples) > 0 {
			fmt.Fprintf(w, " %9s %9s", figure(least(r.Samples)), figure(most(r.Samples)))
		} else if timed {
			fmt.Fprintf(w, " %9s %9s", "", "")
		}
		if len(r.Samples) > 0 {
			fmt.Fprintf(w, " %9s", figure(median(r.Samples, cpu)))
		}
		if of := t.find(t.Ref); t.Ref != "" && of.ok() {
			fmt.Fprintf(w, "  %.2f", r.Value/of.Value)
		}
		if r.Note != "" {
			fmt.Fprintf(w, "  %s", r.Note)
		}
		fmt.Fprintln(w)
	}
	for _, v := range t.Bars {
		fmt.Fprintf(w, "  %s\n", v)
	}
}

func (v bar) String() string {
	verdict := "PASS"
	if !v.Met {
		verdict = "FAIL"
	}
	got := "not measured"
	if v.Got > 0 {
		got = fmt.Sprintf("%.2f", v.Got)
	}
	if v.Of == "" {
		return fmt.Sprintf("%s  bar: %s at most %.2f; it is %s", verdict, short(v.Name), v.Limit, got)
	}
	return fmt.Sprintf("%s  bar: %s at most %.2f of %s; it is %s", verdict, short(v.Name), v.Limit, short(v.Of), got)
}

// short is a contender's name without what is in brackets.
func short(name string) string {
	name, _, _ = strings.Cut(name, " (")
	return name
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 160 {
		s = s[:160] + "…"
	}
	return s
}

// figure has three digits that mean something.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// end prints all bars once more and returns how many were missed.
func (r *report) end(w io.Writer, d time.Duration) (missed int) {
	fmt.Fprintln(w)
	for _, t := range r.Tables {
		for _, v := range t.Bars {
			fmt.Fprintf(w, "%-70s %s\n", v, t.Row)
			if !v.Met {
				missed++
			}
		}
	}
	var parts []string
	for _, row := range rows {
		if s, ok := r.Took[row.name]; ok {
			parts = append(parts, fmt.Sprintf("%s %.0f", row.name, s))
		}
	}
	fmt.Fprintf(w, "measured in %.0f s (%s)\n", d.Seconds(), strings.Join(parts, ", "))
	return missed
}

func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

func wall(s sample) float64 { return s.Wall }
func cpu(s sample) float64  { return s.CPU }

func median(samples []sample, of func(sample) float64) float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = of(s)
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func least(samples []sample) float64 {
	return slices.MinFunc(samples, byWall).Wall
}

func most(samples []sample) float64 {
	return slices.MaxFunc(samples, byWall).Wall
}

func byWall(a, b sample) int { return cmp.Compare(a.Wall, b.Wall) }

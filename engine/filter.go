package engine

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/image"
)

// Filters are conditions on containers: those of one key are alternatives,
// those of different keys must all hold. label is the exception: every one
// must hold, as Docker and Podman have it.
type Filters struct {
	byKey map[string][]func(*Summary) bool
}

// filterKeys is every key of --filter and how its value becomes a condition.
var filterKeys = map[string]func(h *Host, value string) (func(*Summary) bool, error){
	"id":       text(func(s *Summary, v string) bool { return strings.HasPrefix(s.Record.ID, v) }),
	"name":     nameFilter,
	"label":    text(func(s *Summary, v string) bool { return hasLabel(s.Record.Labels, v) }),
	"label!":   text(func(s *Summary, v string) bool { return !hasLabel(s.Record.Labels, v) }),
	"ancestor": text(isAncestor),
	"network": text(func(s *Summary, v string) bool {
		return s.Record.Spec.Network == v || s.Record.Spec.Network == "" && v == "none"
	}),
	"volume": text(hasVolume),
	"status": statusFilter,
	"exited": exitedFilter,
	"before": createdFilter(time.Time.Before),
	"since":  createdFilter(time.Time.After),
	"until":  untilFilter,
	"restart-policy": text(func(s *Summary, v string) bool {
		return s.Record.Restart.Name == v || v == "no" && s.Record.Restart.Name == ""
	}),
}

// ParseFilters takes KEY=VALUE as docker's and podman's --filter do.
func ParseFilters(h *Host, filters []string) (*Filters, error) {
	f := &Filters{byKey: map[string][]func(*Summary) bool{}}
	for _, text := range filters {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("filter %q: must be KEY=VALUE", text)
		}
		parse, ok := filterKeys[key]
		if !ok {
			return nil, fmt.Errorf("filter %q: unknown key %q: must be one of %s", text, key, strings.Join(sortedKeys(filterKeys), ", "))
		}
		match, err := parse(h, value)
		if err != nil {
			return nil, fmt.Errorf("filter %q: %w", text, err)
		}
		f.byKey[key] = append(f.byKey[key], match)
	}
	return f, nil
}

// Match says whether a container meets the filters.
func (f *Filters) Match(s *Summary) bool {
	for key, alternatives := range f.byKey {
		holds := func(match func(*Summary) bool) bool { return match(s) }
		if strings.HasPrefix(key, "label") {
			if slices.ContainsFunc(alternatives, func(m func(*Summary) bool) bool { return !m(s) }) {
				return false
			}
		} else if !slices.ContainsFunc(alternatives, holds) {
			return false
		}
	}
	return true
}

// StatusAsked says whether a filter is about states, in which case ps does not
// hide the containers that do not run.
func (f *Filters) StatusAsked() bool {
	return len(f.byKey["status"]) > 0 || len(f.byKey["exited"]) > 0
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func text(match func(*Summary, string) bool) func(*Host, string) (func(*Summary) bool, error) {
	return func(_ *Host, value string) (func(*Summary) bool, error) {
		return func(s *Summary) bool { return match(s, value) }, nil
	}
}

// nameFilter takes a regular expression that fits anywhere in the name, as
// docker and podman do. With the slash that Docker's API has before each name it
// fits as well.
func nameFilter(_ *Host, value string) (func(*Summary) bool, error) {
	re, err := regexp.Compile(value)
	if err != nil {
		return nil, fmt.Errorf("must be a regular expression: %w", err)
	}
	return func(s *Summary) bool { return re.MatchString(s.Record.Name) || re.MatchString("/"+s.Record.Name) }, nil
}

func hasLabel(labels map[string]string, want string) bool {
	key, value, hasValue := strings.Cut(want, "=")
	got, ok := labels[key]
	return ok && (!hasValue || got == value)
}

func isAncestor(s *Summary, v string) bool {
	if v == "" {
		return false
	}
	if strings.HasPrefix(strings.TrimPrefix(s.Record.Image.ID, "sha256:"), strings.TrimPrefix(v, "sha256:")) && len(v) >= 3 {
		return true
	}
	a, err := image.ParseReference(v)
	if err != nil {
		return false
	}
	b, err := image.ParseReference(s.Record.Image.Name)
	if err != nil {
		return false
	}
	if a.Tag == "" && a.Digest == "" {
		return a.Name() == b.Name()
	}
	return a.String() == b.String()
}

func hasVolume(s *Summary, v string) bool {
	return slices.ContainsFunc(s.Record.Mounts, func(m container.Mount) bool {
		return m.Source == v || m.Destination == path.Clean(v)
	})
}

func statusFilter(_ *Host, value string) (func(*Summary) bool, error) {
	want := container.State(value)
	switch want {
	case "stopped":
		want = container.Exited
	case container.Created, container.Running, container.Paused, container.Restarting, container.Stopping, container.Exited:
	default:
		return nil, fmt.Errorf("must be created, running, paused, restarting, stopping or exited")
	}
	return func(s *Summary) bool { return s.State == want }, nil
}

func exitedFilter(_ *Host, value string) (func(*Summary) bool, error) {
	code, err := strconv.Atoi(value)
	if err != nil {
		return nil, fmt.Errorf("must be an exit code")
	}
	return func(s *Summary) bool {
		return s.State == container.Exited && s.Exit != nil && s.Exit.Code != nil && *s.Exit.Code == code
	}, nil
}

func createdFilter(holds func(time.Time, time.Time) bool) func(*Host, string) (func(*Summary) bool, error) {
	return func(h *Host, value string) (func(*Summary) bool, error) {
		other, err := h.Containers.Load(value)
		if err != nil {
			return nil, err
		}
		return func(s *Summary) bool { return holds(s.Record.Created, other.Created) }, nil
	}
}

func untilFilter(_ *Host, value string) (func(*Summary) bool, error) {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		d, derr := time.ParseDuration(value)
		if derr != nil {
			return nil, fmt.Errorf("must be a time as 2006-01-02T15:04:05Z or a duration as 10m")
		}
		t = time.Now().Add(-d)
	}
	return func(s *Summary) bool { return s.Record.Created.Before(t) }, nil
}

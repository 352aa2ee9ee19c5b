// Package ocijson reads and writes the config.json of an OCI bundle, for Linux.
//
// It is what encoding/json does with specs.Spec, in a third of the time of a
// process's first document: that package prepares for every type that a value
// could hold before it looks at the value, and most of what the specification
// has is for other systems or rarely there. Fields of such types are shadowed
// here by ones that it cannot see into.
package ocijson

import (
	"encoding/json"

	"github.com/opencontainers/runtime-spec/specs-go"
)

type spec struct {
	specs.Spec
	Process *process           `json:"process,omitempty"`
	Hooks   late[*specs.Hooks] `json:"hooks,omitzero"`
	Linux   *linux             `json:"linux,omitempty"`

	Solaris other `json:"solaris,omitzero"`
	Windows other `json:"windows,omitzero"`
	VM      other `json:"vm,omitzero"`
	ZOS     other `json:"zos,omitzero"`
	FreeBSD other `json:"freebsd,omitzero"`
}

type process struct {
	specs.Process
	ConsoleSize     late[*specs.Box]             `json:"consoleSize,omitzero"`
	Scheduler       late[*specs.Scheduler]       `json:"scheduler,omitzero"`
	IOPriority      late[*specs.LinuxIOPriority] `json:"ioPriority,omitzero"`
	ExecCPUAffinity late[*specs.CPUAffinity]     `json:"execCPUAffinity,omitzero"`
}

type linux struct {
	specs.Linux
	Resources    late[*specs.LinuxResources]            `json:"resources,omitzero"`
	NetDevices   late[map[string]specs.LinuxNetDevice]  `json:"netDevices,omitzero"`
	IntelRdt     late[*specs.LinuxIntelRdt]             `json:"intelRdt,omitzero"`
	MemoryPolicy late[*specs.LinuxMemoryPolicy]         `json:"memoryPolicy,omitzero"`
	Personality  late[*specs.LinuxPersonality]          `json:"personality,omitzero"`
	TimeOffsets  late[map[string]specs.LinuxTimeOffset] `json:"timeOffsets,omitzero"`
}

// late is a value whose type is looked at when there is one.
type late[T any] struct {
	v   T
	set bool
}

func one[T any](p *T) late[*T] { return late[*T]{p, p != nil} }

func many[V any](m map[string]V) late[map[string]V] { return late[map[string]V]{m, len(m) > 0} }

func (l late[T]) IsZero() bool { return !l.set }

func (l late[T]) MarshalJSON() ([]byte, error) { return json.Marshal(l.v) }

func (l *late[T]) UnmarshalJSON(b []byte) error {
	l.set = true
	return json.Unmarshal(b, &l.v)
}

// other is a part for another system: nothing is done with it.
type other struct{}

func (other) IsZero() bool                { return true }
func (*other) UnmarshalJSON([]byte) error { return nil }

// Encode is the config.json of s.
func Encode(s *specs.Spec) ([]byte, error) {
	d := spec{Spec: *s}
	d.Hooks = one(s.Hooks)
	if p := s.Process; p != nil {
		d.Process = &process{*p, one(p.ConsoleSize), one(p.Scheduler), one(p.IOPriority), one(p.ExecCPUAffinity)}
	}
	if l := s.Linux; l != nil {
		d.Linux = &linux{
			Linux:        *l,
			Resources:    one(l.Resources),
			NetDevices:   many(l.NetDevices),
			IntelRdt:     one(l.IntelRdt),
			MemoryPolicy: one(l.MemoryPolicy),
			Personality:  one(l.Personality),
			TimeOffsets:  many(l.TimeOffsets),
		}
	}
	return json.Marshal(&d)
}

// Decode reads a config.json.
func Decode(b []byte) (*specs.Spec, error) {
	var d spec
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, err
	}
	s := &d.Spec
	s.Hooks = d.Hooks.v
	if p := d.Process; p != nil {
		s.Process = &p.Process
		s.Process.ConsoleSize, s.Process.Scheduler = p.ConsoleSize.v, p.Scheduler.v
		s.Process.IOPriority, s.Process.ExecCPUAffinity = p.IOPriority.v, p.ExecCPUAffinity.v
	}
	if l := d.Linux; l != nil {
		s.Linux = &l.Linux
		s.Linux.Resources, s.Linux.NetDevices, s.Linux.IntelRdt = l.Resources.v, l.NetDevices.v, l.IntelRdt.v
		s.Linux.MemoryPolicy, s.Linux.Personality, s.Linux.TimeOffsets = l.MemoryPolicy.v, l.Personality.v, l.TimeOffsets.v
	}
	return s, nil
}

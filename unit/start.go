package unit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// bus types of StartTransientUnit.
type (
	wireProperty struct {
		Name  string
		Value dbus.Variant
	}
	wireUnit struct {
		Name       string
		Properties []wireProperty
	}
)

// StartTransient makes a unit of a description and starts it. It returns when
// the manager has taken the job; Job.Wait tells how that ended. A name that is
// taken, by a loaded unit or by a unit file, is ErrExists. Files of the
// description may be closed when it returns.
func (c *Conn) StartTransient(ctx context.Context, s *Spec) (*Job, error) {
	defer runtime.KeepAlive(s)
	t, err := c.describe(s)
	if err != nil {
		return nil, err
	}
	j, err := c.enqueue(ctx, "start", s.Name, startTransient, countFiles(t.all), t.args...)
	return j, t.explain(err)
}

// Launch is StartTransient for a caller that hears of the end of the start by
// another way: the manager's signals need not come here.
func (c *Conn) Launch(ctx context.Context, s *Spec) error {
	defer runtime.KeepAlive(s)
	t, err := c.describe(s)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, systemdName, method{managerPath, managerIface, startTransient}, countFiles(t.all), t.args)
	if err != nil {
		return t.explain(opError("start", s.Name, err))
	}
	return nil
}

const startTransient = "StartTransientUnit"

// described is a description as StartTransientUnit takes it.
type described struct {
	args []any
	all  []Property // of the unit and those beside it
}

func (c *Conn) describe(s *Spec) (*described, error) {
	if err := ValidName(s.Name); err != nil {
		return nil, opError("start", s.Name, err)
	}
	version := c.knownVersion()
	props, err := s.transient(version)
	if err != nil {
		return nil, err
	}
	t := &described{all: slices.Clone(props)}
	aux := make([]wireUnit, len(s.Aux))
	for i := range s.Aux {
		a := &s.Aux[i]
		ap, err := a.transient(version)
		if err != nil {
			return nil, err
		}
		aux[i] = wireUnit{a.Name, wireProperties(ap)}
		t.all = append(t.all, ap...)
	}
	t.args = []any{s.Name, ModeFail, wireProperties(props), aux}
	return t, nil
}

// explain words the manager's refusal of one of the properties.
func (t *described) explain(err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.Err = propertyError(t.all, e.Err)
	}
	return err
}

// transient are the properties that s asks for.
func (s *Spec) transient(version int) ([]Property, error) {
	var props []Property
	err := s.each(version, func(r *row, v *value) error {
		if r.prop == "" {
			return &Error{Op: "describe", Unit: s.Name, Err: fmt.Errorf("%s= can be set in unit files only", r.key)}
		}
		props = append(props, Property{r.prop, v.bus})
		return nil
	})
	return append(props, s.Properties...), err
}

// PropertiesOf are the settings of s as SetProperties takes them. Only a part
// of all properties can be changed in a unit that runs: its limits, mostly.
func PropertiesOf(s *Spec) ([]Property, error) { return s.transient(0) }

// ParseProperty makes a property of text: GVariant's, with the type before the
// value where that does not follow from it (uint64 10, 'text', true). A name
// that ends in Sec stands for the one in microseconds that the bus has.
func ParseProperty(name, text string) (Property, error) {
	v, err := dbus.ParseVariant(text, dbus.Signature{})
	if err != nil {
		return Property{}, fmt.Errorf("%s=%s: %w", name, text, err)
	}
	p := Property{name, v.Value()}
	stem, seconds := strings.CutSuffix(name, "Sec")
	if !seconds || strings.HasSuffix(name, "USec") {
		return p, nil
	}
	var usec float64
	switch n := p.Value.(type) {
	case uint64:
		usec = float64(n)
	case int64:
		usec = float64(n)
	case uint32:
		usec = float64(n)
	case int32:
		usec = float64(n)
	case float64:
		usec = n
	default:
		return Property{}, fmt.Errorf("%s=%s: not a number of seconds", name, text)
	}
	if usec *= 1e6; !(usec >= 0 && usec < 1<<63) {
		return Property{}, fmt.Errorf("%s=%s: not a time", name, text)
	}
	return Property{stem + "USec", uint64(usec)}, nil
}

func wireProperties(props []Property) []wireProperty {
	w := make([]wireProperty, len(props))
	for i, p := range props {
		v := p.Value
		if f, ok := v.(*os.File); ok {
			v = dbus.UnixFD(rawFD(f))
		}
		w[i] = wireProperty{p.Name, dbus.MakeVariant(v)}
	}
	return w
}

// rawFD is f's descriptor, without making it blocking as Fd does.
func rawFD(f *os.File) int {
	fd := -1
	if rc, err := f.SyscallConn(); err == nil {
		rc.Control(func(p uintptr) { fd = int(p) })
	}
	return fd
}

func countFiles(props []Property) (n int) {
	for _, p := range props {
		if _, ok := p.Value.(*os.File); ok {
			n++
		}
	}
	return n
}

// propertyError makes ErrNotSupported of the manager's refusal of a property
// that newer managers take.
func propertyError(props []Property, err error) error {
	var be *BusError
	if !errors.As(err, &be) || be.Name != "org.freedesktop.DBus.Error.PropertyReadOnly" {
		return err
	}
	for _, p := range props {
		for i := range table {
			r := &table[i]
			if r.prop == p.Name && r.since > oldest && strings.Contains(be.Message, r.prop) {
				return fmt.Errorf("%w (%w)", &UnsupportedError{Feature: r.name() + "=", Needs: r.since}, err)
			}
		}
	}
	return err
}

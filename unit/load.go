package unit

import (
	"context"
	"errors"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Entry is a loaded unit in a list.
type Entry struct {
	Name        string
	Description string
	LoadState   string
	ActiveState string
	SubState    string
	Job         uint32 // 0 for none
	JobType     string
}

// List lists the loaded units whose names match one of the patterns (globs, as
// systemctl has them). It is one call, whatever the number of units.
func (c *Conn) List(ctx context.Context, patterns ...string) ([]Entry, error) {
	body, err := c.manager(ctx, "ListUnitsByPatterns", []string{}, patterns)
	if err != nil {
		return nil, opError("list units", "", err)
	}
	var rows []struct {
		Name, Description, Load, Active, Sub, Following string
		Path                                            dbus.ObjectPath
		Job                                             uint32
		JobType                                         string
		JobPath                                         dbus.ObjectPath
	}
	if err := dbus.Store(body, &rows); err != nil {
		return nil, opError("list units", "", err)
	}
	list := make([]Entry, len(rows))
	for i, r := range rows {
		list[i] = Entry{r.Name, r.Description, r.Load, r.Active, r.Sub, r.Job, r.JobType}
	}
	return list, nil
}

// loaded says which units the manager knows. It does not make it load any:
// reading a property of a unit does.
func (c *Conn) loaded(ctx context.Context, names []string) ([]bool, error) {
	b := c.batch()
	for _, name := range names {
		b.call(method{managerPath, managerIface, "GetUnit"}, name)
	}
	if err := b.send(ctx); err != nil {
		return nil, err
	}
	known := make([]bool, len(names))
	for i, k := range b.calls {
		switch _, err := c.await(ctx, k); {
		case err == nil:
			known[i] = true
		case !isNotExist(err):
			return nil, opError("find", names[i], err)
		}
	}
	return known, nil
}

func (c *Conn) isLoaded(ctx context.Context, name string) (bool, error) {
	known, err := c.loaded(ctx, []string{name})
	return err == nil && known[0], err
}

func isNotExist(err error) bool { return errors.Is(err, ErrNotExist) }

func isService(name string) bool { return strings.HasSuffix(name, ".service") }

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/berthrun/berth/container"
)

// Config is what the files say, with defaults where they are silent.
type Config struct {
	Root string // what survives a reboot
	Run  string // what does not

	// Libexec is where berth-shim and its like are.
	Libexec string

	Runtimes map[string]string // name → path of an OCI runtime
	Runtime  string            // the default one

	LogDriver   string
	PidsLimit   int64 // default limit of processes, 0: none
	StopTimeout time.Duration
	ShmSize     int64

	Insecure []string // registries spoken to without TLS verification or by plain HTTP
}

// Default is the configuration without any file.
func Default() *Config {
	return &Config{
		Root:    container.DefaultRoot,
		Run:     container.DefaultRun,
		Libexec: "/usr/libexec/berth",
		Runtimes: map[string]string{
			"berth-runtime": "/usr/libexec/berth/berth-runtime",
			"crun":          "crun",
			"runc":          "runc",
			"youki":         "youki",
		},
		Runtime:     "berth-runtime",
		LogDriver:   "journald",
		PidsLimit:   2048,
		StopTimeout: 10 * time.Second,
		ShmSize:     64 << 20,
	}
}

// directories in rising order of priority; of two drop-ins with one name the
// later directory's counts.
var directories = []string{"/usr/lib/berth", "/run/berth", "/etc/berth"}

// Load reads the machine's configuration. The environment variables BERTH_ROOT,
// BERTH_RUN and BERTH_LIBEXEC override the files, for tests and for trying out.
func Load() (*Config, error) {
	c := Default()
	for _, path := range files(directories) {
		if err := c.loadFile(path); err != nil {
			return nil, err
		}
	}
	for name, field := range map[string]*string{"BERTH_ROOT": &c.Root, "BERTH_RUN": &c.Run, "BERTH_LIBEXEC": &c.Libexec} {
		if v := os.Getenv(name); v != "" {
			if !filepath.IsAbs(v) {
				return nil, fmt.Errorf("environment %s=%s: must be an absolute path", name, v)
			}
			*field = v
		}
	}
	if v := os.Getenv("BERTH_LIBEXEC"); v != "" {
		c.Runtimes["berth-runtime"] = filepath.Join(v, "berth-runtime")
	}
	return c, nil
}

// files lists the configuration files that are there, in reading order.
func files(dirs []string) []string {
	var list []string
	dropIns := map[string]string{}
	for _, d := range dirs {
		if main := filepath.Join(d, "berth.conf"); isFile(main) && d != "/run/berth" {
			list = append(list, main)
		}
		matches, _ := filepath.Glob(filepath.Join(d, "berth.conf.d", "*.conf"))
		for _, m := range matches {
			dropIns[filepath.Base(m)] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		list = append(list, dropIns[name])
	}
	return list
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

func (c *Config) loadFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if err := c.read(f); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

func (c *Config) read(r io.Reader) error {
	options, err := unit.Deserialize(r)
	if err != nil {
		return err
	}
	for _, o := range options {
		if o.Section == "Runtimes" {
			c.Runtimes[o.Name] = o.Value
			continue
		}
		key := o.Section + "." + o.Name
		set, ok := keys[key]
		if !ok {
			return fmt.Errorf("unknown setting %s= in section [%s]", o.Name, o.Section)
		}
		if err := set(c, o.Value); err != nil {
			return fmt.Errorf("%s=%s: %w", o.Name, o.Value, err)
		}
	}
	return nil
}

// keys is every setting: SECTION.KEY and how its value is taken.
var keys = map[string]func(*Config, string) error{
	"Engine.Root":           func(c *Config, v string) error { return setPath(&c.Root, v) },
	"Engine.Run":            func(c *Config, v string) error { return setPath(&c.Run, v) },
	"Engine.Runtime":        func(c *Config, v string) error { c.Runtime = v; return nil },
	"Container.LogDriver":   func(c *Config, v string) error { c.LogDriver = v; return nil },
	"Container.PidsLimit":   func(c *Config, v string) error { return setNumber(&c.PidsLimit, v) },
	"Container.ShmSize":     func(c *Config, v string) error { return setNumber(&c.ShmSize, v) },
	"Container.StopTimeout": func(c *Config, v string) error { return setDuration(&c.StopTimeout, v) },
	"Registries.Insecure":   func(c *Config, v string) error { return appendWords(&c.Insecure, v) },
}

func setPath(field *string, v string) error {
	if !filepath.IsAbs(v) {
		return errors.New("must be an absolute path")
	}
	*field = filepath.Clean(v)
	return nil
}

func setNumber(field *int64, v string) error {
	var n int64
	if _, err := fmt.Sscanf(v, "%d", &n); err != nil || fmt.Sprint(n) != v || n < 0 {
		return errors.New("must be a whole number, 0 or more")
	}
	*field = n
	return nil
}

func setDuration(field *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return errors.New("must be a duration, such as 10s")
	}
	*field = d
	return nil
}

func appendWords(field *[]string, v string) error {
	if v == "" {
		*field = nil
		return nil
	}
	*field = append(*field, strings.Fields(v)...)
	return nil
}

package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/berthrun/berth/engine"
)

func version() string { return engine.Version }

func infoVerb() *verb {
	return &verb{
		top: "info", group: "System",
		short:    "Show the machine as berth sees it",
		examples: `berth info --format '{{.SystemdVersion}}'`,
		flags:    func() []cli.Flag { return []cli.Flag{formatFlag()} },
		run: func(c *call) error {
			h, err := c.open()
			if err != nil {
				return err
			}
			i, err := engine.Info(c.ctx, h)
			if i == nil {
				return err
			}
			return joinClose(c.printInfo(i), err)
		},
	}
}

func (c *call) printInfo(i *engine.HostInfo) error {
	switch format := c.flags.String("format"); format {
	case "":
	case "json":
		return printJSON(c.out, i)
	default:
		return printObject(c.out, format, i)
	}
	rows := [][2]string{
		{"Version", i.Version},
		{"systemd", fmt.Sprint(i.SystemdVersion)},
		{"Kernel", i.Kernel},
		{"OS", i.OS},
		{"Architecture", i.Architecture},
		{"Host name", i.Hostname},
		{"CPUs", fmt.Sprint(i.CPUs)},
		{"Memory", humanSize(i.MemTotal)},
		{"Cgroups", i.CgroupVersion + ", controllers: " + orNone(strings.Join(i.Controllers, " "))},
		{"Runtime", i.Runtime + " (" + i.Runtimes[i.Runtime] + ")"},
		{"Security", strings.Join(i.SecurityOptions, " ")},
		{"Log driver", i.LogDriver},
		{"Root", i.Root},
		{"Run", i.Run},
		{"Containers", fmt.Sprintf("%d, %d running", i.Containers, i.Running)},
		{"Images", fmt.Sprint(i.Images)},
		{"Insecure", orNone(strings.Join(i.Insecure, " "))},
	}
	for _, r := range rows {
		fmt.Fprintf(c.out, "%-14s%s\n", r[0]+":", printable(r[1]))
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// versionObject is what version shows.
type versionObject struct {
	Version   string
	GoVersion string
	OsArch    string
}

func versionVerb() *verb {
	return &verb{
		top: "version", group: "System",
		short:    "Show the version of berth",
		examples: `berth version --format '{{.Version}}'`,
		flags:    func() []cli.Flag { return []cli.Flag{formatFlag()} },
		run: func(c *call) error {
			v := versionObject{version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			switch format := c.flags.String("format"); format {
			case "":
				fmt.Fprintf(c.out, "Version:    %s\nGo Version: %s\nOS/Arch:    %s\n", v.Version, v.GoVersion, v.OsArch)
				return nil
			case "json":
				return printJSON(c.out, v)
			default:
				return printObject(c.out, format, v)
			}
		},
	}
}

func helpVerb() *verb {
	return &verb{
		top: "help", group: "System",
		args: "[COMMAND]", max: 2,
		short: "Explain berth or a command",
		run: func(c *call) error {
			if len(c.args) == 0 {
				return c.helpTop()
			}
			v, path, rest, err := c.find(c.args)
			switch {
			case err != nil:
				return &usageError{err: err}
			case len(rest) > 0:
				return usagef("unexpected argument %q", rest[0])
			case v == nil:
				return c.helpGroup(path)
			}
			return c.helpVerb(v, path)
		},
	}
}

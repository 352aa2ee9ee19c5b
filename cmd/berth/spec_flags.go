package main

import "github.com/urfave/cli/v2"

// specFlags are the flags of run and create that describe a container.
func specFlags() []cli.Flag {
	return []cli.Flag{
		strs("add-host", "add a line to the container's /etc/hosts", "HOST:IP"),
		strs("annotation", "add an OCI annotation", "KEY=VALUE"),
		strs("attach a", "attach to stdin, stdout or stderr; may be repeated", "STREAM"),
		strs("cap-add", "grant a capability, or ALL", "CAPABILITY"),
		strs("cap-drop", "take a capability away, or ALL", "CAPABILITY"),
		str("cgroupns", "cgroup namespace: private or host", "MODE"),
		str("cidfile", "write the container's ID to a file that is not there yet", "FILE"),
		str("cpu-period", "length of a period of --cpu-quota", "MICROSECONDS"),
		str("cpu-quota", "CPU time in each period", "MICROSECONDS"),
		str("cpu-shares c", "weight for CPU time when it is short (1024 is everybody's)", "SHARES"),
		str("cpus", "at most so many CPUs, e.g. 1.5", "NUMBER"),
		str("cpuset-cpus", "run on these CPUs only, e.g. 0-3,5", "LIST"),
		str("cpuset-mems", "use memory of these nodes only", "LIST"),
		detachKeysFlag(),
		strs("device", "give access to a device of the host", "PATH[:PATH][:rwm]"),
		strs("dns", "name server for /etc/resolv.conf", "IP"),
		strs("dns-option dns-opt", "option for /etc/resolv.conf", "OPTION"),
		strs("dns-search", "search domain for /etc/resolv.conf", "DOMAIN"),
		str("entrypoint", "run this instead of the image's entry point; \"\" for none", "COMMAND"),
		strs("env e", "set a variable; without =VALUE it comes from berth's environment", "KEY[=VALUE]"),
		strs("env-file", "read variables from a file", "FILE"),
		strs("group-add", "add the process to a group of the container", "GROUP"),
		str("hostname h", "host name in the container", "NAME"),
		boolean("init", "run a small init as PID 1 that forwards signals and reaps"),
		boolean("interactive i", "keep standard input open"),
		str("ipc", "IPC namespace: private, host, none, shareable, container:NAME or ns:PATH", "MODE"),
		strs("label l", "set a label", "KEY[=VALUE]"),
		strs("label-file", "read labels from a file", "FILE"),
		str("log-driver", "where the output is kept: journald, k8s-file or none", "DRIVER"),
		strs("log-opt", "option of the log driver", "KEY=VALUE"),
		str("memory m", "at most so much memory, e.g. 512m", "SIZE"),
		str("memory-reservation", "memory to be left to the container when it is short", "SIZE"),
		str("memory-swap", "at most so much memory and swap together; -1: any", "SIZE"),
		strs("mount", "mount something: type=bind,src=PATH,dst=PATH[,ro] or type=tmpfs,dst=PATH", "KEY=VALUE,..."),
		str("name", "name of the container", "NAME"),
		str("network net", "network: none (now the default), host, container:NAME or ns:PATH", "MODE"),
		str("oom-score-adj", "how readily the kernel kills it when memory is short", "-1000..1000"),
		str("pid", "PID namespace: private, host, container:NAME or ns:PATH", "MODE"),
		str("pids-limit", "at most so many processes; -1: any", "NUMBER"),
		str("platform", "choose the image for this platform", "OS/ARCH"),
		boolean("privileged", "no confinement: all capabilities and devices"),
		str("pull", "pull the image: always, missing (default), newer or never", "WHEN"),
		boolean("quiet q", "no word about the progress of a pull"),
		boolean("read-only", "mount the root file system read-only"),
		booleanOn("read-only-tmpfs", "with --read-only, a writable tmpfs on /run, /tmp and /var/tmp"),
		boolean("replace", "remove a container of the same name first"),
		str("restart", "start again: no, always, unless-stopped or on-failure[:N]", "POLICY"),
		boolean("rm", "remove the container when it has ended"),
		rootfsFlag(),
		str("runtime", "OCI runtime: a name from berth.conf or a path", "NAME"),
		strs("security-opt", "seccomp=FILE, seccomp=unconfined, apparmor=PROFILE, no-new-privileges, mask=PATH, unmask=PATH", "OPTION"),
		str("shm-size", "size of /dev/shm (default 64m)", "SIZE"),
		str("slice cgroup-parent", "systemd slice that the unit is in (default machine-berth.slice)", "SLICE"),
		str("stop-signal", "signal that asks the container to stop", "SIGNAL"),
		str("stop-timeout", "wait so long after it before killing (default 10)", "SECONDS"),
		strs("sysctl", "set a kernel parameter of the container's namespaces", "KEY=VALUE"),
		strs("tmpfs", "mount a tmpfs", "PATH[:OPTIONS]"),
		boolean("tty t", "give the container a terminal"),
		str("tz", "time zone, e.g. Europe/Berlin, or local", "ZONE"),
		strs("ulimit", "set a resource limit, e.g. nofile=1024:4096", "NAME=SOFT[:HARD]"),
		str("umask", "file mode creation mask (default 0022)", "OCTAL"),
		str("user u", "run as a user of the container", "USER[:GROUP]"),
		str("uts", "UTS namespace: private, host, container:NAME or ns:PATH", "MODE"),
		strs("volume v", "mount a path of the host", "PATH:PATH[:OPTIONS]"),
		str("workdir w", "working directory", "PATH"),

		accepted(boolean("no-healthcheck", "there are no health checks yet")),
		accepted(booleanOn("http-proxy", "the proxy of berth's environment is not handed in")),
		accepted(boolean("oom-kill-disable", "has no effect with cgroup v2")),
		accepted(strs("expose", "ports are not closed without a network", "PORT")),
		accepted(str("memory-swappiness", "has no effect with cgroup v2", "N")),
	}
}

// rootfsFlag is a switch with Podman, whose first argument is the directory
// then; --rootfs=DIR says the same.
func rootfsFlag() cli.Flag {
	return &bareFlag{&cli.StringFlag{
		Name:  "rootfs",
		Usage: "run in a directory of the host instead of an image: the first argument, or --rootfs=DIR",
	}, rootfsFirst}
}

const rootfsFirst = "true"

// specLater are flags of podman run and docker run that wait for other parts of
// berth.
const specLater = "p P publish publish-all arch blkio-weight blkio-weight-device cgroup-conf cgroups chrootdirs " +
	"conmon-pidfile cpu-rt-period cpu-rt-runtime decryption-key device-cgroup-rule device-read-bps device-read-iops " +
	"device-write-bps device-write-iops domainname env-host env-merge gidmap gpus group-entry health-cmd health-interval " +
	"health-on-failure health-retries health-start-period health-start-interval health-startup-cmd health-timeout " +
	"hooks-dir hostuser image-volume init-ctr init-path ip ip6 isolation link link-local-ip mac-address network-alias " +
	"no-hostname no-hosts os passwd passwd-entry personality pidfile pod pod-id-file preserve-fd preserve-fds rdt-class requires " +
	"retry retry-delay sdnotify seccomp-policy secret shm-size-systemd storage-opt subgidname subuidname systemd timeout " +
	"tls-verify uidmap unsetenv unsetenv-all use-api-socket userns variant volume-driver volumes-from authfile"

package main

// What the program says about itself. Constants: nothing of it is made at the
// start of a process that does not show it.

const usage = `NAME:
   berth-runtime - Open Container Initiative runtime

USAGE:
   berth-runtime [global options] command [command options] [arguments...]

COMMANDS:
   checkpoint  checkpoint a running container
   create      create a container
   delete      delete any resources held by the container
   events      display container events: statistics, kills for want of memory
   exec        execute a new process inside the container
   features    show the enabled features
   kill        send a signal (default: SIGTERM) to the container's init process
   list        list the containers of the given root
   pause       suspend all processes inside the container
   ps          display the processes running inside a container
   restore     restore a container from a previous checkpoint
   resume      resume all processes that have been paused
   run         create and run a container
   spec        create a new specification file
   start       execute the user defined process in a created container
   state       output the state of a container
   update      update container resource constraints
   help, h     show a list of commands, or help for one command

GLOBAL OPTIONS:
   --debug             enable debug logging
   --log value         set the log file to write to (default is '/dev/stderr')
   --log-format value  set the log format ('text' (default), or 'json')
   --root value        root directory for storage of container state
                       (default: "/run/berth-runtime")
   --systemd-cgroup    have systemd make the cgroup: cgroupsPath is "slice:prefix:name"
   --rootless value    ignored: it is found out
   --help, -h          show help
   --version, -v       print the version
`

const createHelp = `
   --bundle value, -b value  path to the root of the bundle directory, defaults to the current directory
   --console-socket value    path to an AF_UNIX socket which will receive the master end of the console's pseudoterminal
   --pidfd-socket value      path to an AF_UNIX socket which will receive a pidfd of the init process
   --pid-file value          file to write the process id to
   --no-pivot                do not use pivot root to jail process inside rootfs
   --no-new-keyring          do not create a new session keyring for the container
   --preserve-fds value      pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
`

// helpOf is a verb's arguments and options, "" for one that is not known.
func helpOf(name string) string {
	switch name {
	case "create":
		return "[options] <container-id>\n\nOPTIONS:" + createHelp
	case "run":
		return "[options] <container-id>\n\nOPTIONS:" + createHelp + `   --detach, -d              detach from the container's process
   --keep                    do not delete the container after it exits
   --no-subreaper            ignored: the container's init is a child of this process
`
	case "start", "state", "pause", "resume":
		return "<container-id>\n"
	case "delete":
		return `[options] <container-id>

OPTIONS:
   --force, -f  forcibly delete the container if it is still running (uses SIGKILL)
`
	case "kill":
		return `[options] <container-id> [signal]

A signal is a number or a name, with SIG or without.

OPTIONS:
   --all, -a  send the signal to all processes inside the container
`
	case "exec":
		return `[options] <container-id> <command> [command options]  || -p process.json <container-id>

OPTIONS:
   --console-socket value         path to an AF_UNIX socket which will receive the master end of the console's pseudoterminal
   --pidfd-socket value           path to an AF_UNIX socket which will receive a pidfd of the process
   --cwd value                    current working directory in the container
   --env value, -e value          set environment variables
   --tty, -t                      allocate a pseudo-TTY
   --user value, -u value         UID (format: <uid>[:<gid>])
   --additional-gids value, -g value  additional gids
   --process value, -p value      path to the process.json
   --detach, -d                   detach from the container's process
   --pid-file value               file to write the process id to
   --process-label value          SELinux label of the process
   --apparmor value               AppArmor profile of the process
   --no-new-privs                 set the no new privileges value for the process
   --cap value, -c value          add a capability to the bounding set for the process
   --preserve-fds value           pass N additional file descriptors to the process (stdio + N in total)
   --cgroup value                 run the process in an existing cgroup below the container's
   --ignore-paused                allow exec in a paused container
`
	case "list":
		return `[options]

OPTIONS:
   --format value, -f value  select one of: table(default) or json
   --quiet, -q               display only container IDs
`
	case "ps":
		return `[options] <container-id> [ps options]

OPTIONS:
   --format value, -f value  select one of: table(default) or json
`
	case "events":
		return `[options] <container-id>

OPTIONS:
   --interval value  set the stats collection interval (default: 5s)
   --stats           display the container's stats then exit
`
	case "spec":
		return `[options]

OPTIONS:
   --bundle value, -b value  path to the root of the bundle directory
   --rootless                generate a configuration for a rootless container
`
	case "features":
		return "\n"
	case "update":
		return updateHelp
	case "checkpoint":
		return "[options] <container-id>\n\nOPTIONS:" + criuHelp + `   --leave-running           leave the process running after checkpointing
   --tcp-skip-in-flight      skip in-flight TCP connections
   --parent-path value       path of the previous image, relative to the image path
   --pre-dump                dump the container's memory only, and leave it running
   --page-server value       ADDRESS:PORT of the page server
   --status-fd value         descriptor that a zero is written to once pages can be had (with --lazy-pages)
`
	case "restore":
		return "[options] <container-id>\n\nOPTIONS:" + criuHelp + `   --bundle value, -b value  path to the root of the bundle directory, defaults to the current directory
   --detach, -d              detach from the container's process
   --pid-file value          file to write the process id to
   --console-socket value    path to an AF_UNIX socket which will receive the master end of the console's pseudoterminal
   --no-subreaper            ignored: the container's init is a child of this process
   --no-pivot                ignored: criu has a way of its own
   --lsm-profile value       LSM profile of the restored processes, TYPE:NAME
   --lsm-mount-context value LSM mount context of the restored mounts
`
	}
	return ""
}

const criuHelp = `
   --image-path value        directory of the image, defaults to ./checkpoint
   --work-path value         directory for work files and logs, defaults to the image's
   --tcp-established         allow open TCP connections
   --ext-unix-sk             allow external unix sockets
   --link-remap              allow open files that have been removed or have another name
   --shell-job               allow shell jobs
   --lazy-pages              transfer memory when it is needed
   --file-locks              handle file locks
   --manage-cgroups-mode value  soft (default), full, strict or ignore
   --empty-ns value          leave a namespace's content out (network)
   --auto-dedup              drop pages from the image's parents that are here again
`

const updateHelp = `[options] <container-id>

OPTIONS:
   --resources value, -r value  path to the file containing the resources to update or '-' to read from
                                the standard input: linux.resources of config.json, of which unchanged
                                values can be omitted; all other options are ignored then
   --blkio-weight value         per cgroup weight, range is from 10 to 1000
   --cpu-period value           CPU CFS period to be used for hardcapping (in usecs)
   --cpu-quota value            CPU CFS hardcap limit (in usecs)
   --cpu-burst value            CPU CFS hardcap burst limit (in usecs)
   --cpu-share value            CPU shares (relative weight vs. other containers)
   --cpu-rt-period value        refused: cgroup v2 has no such limit
   --cpu-rt-runtime value       refused: cgroup v2 has no such limit
   --cpuset-cpus value          CPU(s) to use
   --cpuset-mems value          memory node(s) to use
   --cpu-idle value             set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE
   --memory value               memory limit (in bytes)
   --memory-reservation value   memory reservation or soft limit (in bytes)
   --memory-swap value          total memory usage (memory + swap); set '-1' to enable unlimited swap
   --pids-limit value           maximum number of pids allowed in the container
   --l3-cache-schema value      the string of Intel RDT/CAT L3 cache schema
   --mem-bw-schema value        the string of Intel RDT/MBA memory bandwidth schema
`

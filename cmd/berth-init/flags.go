package main

import (
	"os"
	"strconv"
	"syscall"
)

const usage = `usage: berth-init [-g] [-s] [-v]... [-w] [-p SIGNAL] [-e STATUS]... [--] COMMAND [ARG...]
       berth-init --version
  -g  send signals to the command's whole process group
  -s  reap orphans although not PID 1
  -v  say more
  -w  say when an orphan is reaped
  -p  the signal to get when the parent dies
  -e  a status of the command that is to be 0
`

// parse reads the command line; without ok the program ends with status.
func parse(args []string) (o *options, status int, ok bool) {
	o = &options{remap: map[int]bool{}}
	if len(args) == 1 && args[0] == "--version" {
		os.Stdout.WriteString("berth-init version " + version + "\n") //nolint:errcheck // nobody else to tell
		return nil, 0, false
	}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		// As getopt: letters in one argument, a value in it or after it.
		for i := 1; i < len(arg); i++ {
			value := ""
			if arg[i] == 'p' || arg[i] == 'e' {
				value = arg[i+1:]
				if value == "" && len(args) > 0 {
					value, args = args[0], args[1:]
				}
			}
			if !o.set(arg[i], value) {
				os.Stderr.WriteString(usage) //nolint:errcheck // nobody else to tell
				if arg == "-h" {
					return nil, 0, false
				}
				return nil, 1, false
			}
			if value != "" {
				break
			}
		}
	}
	if len(args) == 0 {
		os.Stderr.WriteString(usage) //nolint:errcheck // nobody else to tell
		return nil, 1, false
	}
	o.args = args
	return o, 0, true
}

// set sets one flag.
func (o *options) set(letter byte, value string) bool {
	switch letter {
	case 'g':
		o.group = true
	case 's':
		o.reaper = true
	case 'w':
		o.warn = true
	case 'v':
		o.verbose++
	case 'p':
		o.parent = signalNumber(value)
		return o.parent != 0
	case 'e':
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 255 {
			return false
		}
		o.remap[n] = true
	default:
		return false
	}
	return true
}

// signalNumber reads a signal's name or number, 0 for what is none.
func signalNumber(s string) syscall.Signal {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	return map[string]syscall.Signal{
		"SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT, "SIGQUIT": syscall.SIGQUIT, "SIGILL": syscall.SIGILL,
		"SIGTRAP": syscall.SIGTRAP, "SIGABRT": syscall.SIGABRT, "SIGBUS": syscall.SIGBUS, "SIGFPE": syscall.SIGFPE,
		"SIGKILL": syscall.SIGKILL, "SIGUSR1": syscall.SIGUSR1, "SIGSEGV": syscall.SIGSEGV, "SIGUSR2": syscall.SIGUSR2,
		"SIGPIPE": syscall.SIGPIPE, "SIGALRM": syscall.SIGALRM, "SIGTERM": syscall.SIGTERM, "SIGCHLD": syscall.SIGCHLD,
		"SIGCONT": syscall.SIGCONT, "SIGSTOP": syscall.SIGSTOP, "SIGTSTP": syscall.SIGTSTP, "SIGTTIN": syscall.SIGTTIN,
		"SIGTTOU": syscall.SIGTTOU, "SIGURG": syscall.SIGURG, "SIGXCPU": syscall.SIGXCPU, "SIGXFSZ": syscall.SIGXFSZ,
		"SIGVTALRM": syscall.SIGVTALRM, "SIGPROF": syscall.SIGPROF, "SIGWINCH": syscall.SIGWINCH, "SIGIO": syscall.SIGIO,
		"SIGPWR": syscall.SIGPWR, "SIGSYS": syscall.SIGSYS,
	}[s]
}

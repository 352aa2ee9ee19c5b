package main

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

func isTerminal(fd uintptr) bool {
	var t syscall.Termios
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return e == 0
}

// foreground makes this process's group the terminal's and becomes the program.
func foreground(args []string) int {
	runtime.LockOSThread() // masks are a thread's, and exec keeps this one's
	const setmask = 2
	var old uint64
	all := ^uint64(0)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setmask, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pgrp := int32(syscall.Getpgrp())
	// Not our terminal (ENOTTY) or none that has a foreground is no failure.
	syscall.RawSyscall(syscall.SYS_IOCTL, 0, syscall.TIOCSPGRP, uintptr(unsafe.Pointer(&pgrp)))
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setmask, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	path, err := lookup(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	say("exec " + args[0] + ": " + err.Error())
	return execStatus(err)
}

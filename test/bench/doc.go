// Bench measures berth beside podman, docker, crun and runc, in one box and in one run. test/bench/run boots that box,
// puts this program into it and calls it there:
//
//	bench [-quick] [-json FILE] [ROW...]
//
// What can be compared takes turns: in every round each contender runs once, and each round begins with the next one,
// so that whatever else the machine does meets all of them. A figure is the median of the rounds, beside it the least,
// the greatest, and the CPU time that the whole box used until it was quiet again, daemons and systemd included: work
// that a daemon does, or that is left for later, is not free. The next turn begins when it is done.
//
// All engines keep their images and containers on the same file system, run the same image, pulled from the same
// registry, and have their packages' default settings, but for what a row says.
//
// A bar is a promise about a ratio or a figure. The exit status is 1 when one is missed or could not be measured.
//
// It does not measure networks (there are none yet) and limits (a box has no controllers).
package main

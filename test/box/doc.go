// Box boots a private systemd as PID 1, in seconds, beside whatever runs the machine: the place where tests, the demo
// and the benchmark run the whole product at native speed.
//
//	box boot [flags] NAME ROOTFS    boot ROOTFS ("/", a directory, or a tree of the cache such as trixie)
//	box exec [-t] [-e K=V] NAME CMD [ARG...]
//	box shell NAME
//	box cp SRC NAME:DST | NAME:SRC DST
//	box list
//	box kill NAME... | --all
//
// A box is a set of namespaces (mount, pid, net, ipc, uts, cgroup), a cgroup2 subtree of its own and a folder below
// $BERTH_BOX_DIR (/var/tmp/berth-box). Its root is an overlay: the tree is never written, what the box writes goes to
// memory. Layers (--layer) lie between the two: an installed product or a registry's storage costs no copying.
// /var/lib/berth and the peers' storage are plain directories, on a tmpfs or with --disk on the machine's own disk,
// because overlay does not stack on overlay.
//
// The machine is not touched: no mount, network device or sysctl of it changes, and nothing is left after box kill.
//
// What a box does not have: an interface other than lo, udev, a kernel of its own, and, where the machine keeps its
// controllers on cgroup v1, limits. The VM has these.
//
// Root is needed, and Linux 5.14 for cgroup.kill.
package main

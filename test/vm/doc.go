// VM boots a Debian with a kernel of its own in qemu: the place for what a box does not have, above all the cgroup v2
// controllers, and for other versions of the kernel.
//
//	vm boot [flags] NAME TREE    TREE is a tree of the cache: vm-bookworm (systemd 252, Linux 6.1), vm-trixie (257, 6.12),
//	                             or either with -full for Debian's full kernel
//	vm exec [-t] [-e K=V] NAME CMD [ARG...]
//	vm shell NAME
//	vm cp SRC NAME:DST | NAME:SRC DST
//	vm list
//	vm kill NAME... | --all
//
// A VM is a qemu process and a folder below $BERTH_VM_DIR (/var/tmp/berth-vm). Its disk is made of the tree by mke2fs
// once, without mounting anything, and each VM writes to a file of its own over it. Layers (--layer), as a box has them, are further
// disks, whose files the initramfs copies over the root before systemd starts (test/rootfs has that script).
//
// The CPU is emulated (TCG) unless BERTH_VM_ACCEL=kvm says otherwise. The only network is a port on the machine's loopback, which leads
// to the VM's sshd; the VM reaches nothing outside.
//
// Exit statuses pass through; a command that dies of a signal gives 128+n. Signals are not passed on, except by -t what
// the terminal makes of them.
package main

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuModel has nothing that Debian does not need. Without cmpxchg16b, for qemu 7.2 (bookworm) loses flags when it
// emulates that one, and Linux 6.12, whose slab allocator uses it all the time, crashes within seconds.
const cpuModel = "qemu64,cx16=off,svm=off"

// unwanted are drivers of hardware that comes with every emulated PC and that nothing here uses.
const unwanted = "ata_piix,ata_generic,libata,scsi_mod,powernow_k8,evdev,psmouse,button,pcspkr,qemu_fw_cfg,i2c_piix4"

// hardware is what a VM is made of.
type hardware struct {
	memory, cpus, disk, append string
}

func boot(args []string) (err error) {
	m := &machine{Booted: time.Now()}
	var hw hardware
	fl := flag.NewFlagSet("vm boot", flag.ContinueOnError)
	fl.SetOutput(io.Discard)
	fl.Func("layer", "", func(s string) error { m.Layers = append(m.Layers, s); return nil })
	fl.StringVar(&hw.memory, "memory", "2G", "")
	fl.StringVar(&hw.cpus, "cpus", "2", "")
	fl.StringVar(&hw.disk, "disk", "8G", "")
	fl.StringVar(&hw.append, "append", "", "")
	timeout := fl.Duration("timeout", 180*time.Second, "")
	quiet := fl.Bool("quiet", false, "")
	if err := fl.Parse(args); err != nil {
		return fmt.Errorf("%w: %v", errUsage, err)
	}
	if fl.NArg() != 2 {
		return errUsage
	}
	m.Name = fl.Arg(0)
	if err := m.findTrees(fl.Arg(1)); err != nil {
		return err
	}
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img", "ssh"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: run test/setup", err)
		}
	}
	if err := m.create(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("boot %s: %w", m.Name, err), kill(m.Name))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := m.start(ctx, hw); err != nil {
		return err
	}
	if err := m.waitUp(ctx); err != nil {
		return fmt.Errorf("%w%s", err, m.tail())
	}
	if !*quiet {
		fmt.Printf("%s: up in %.1f s\n", m.Name, time.Since(m.Booted).Seconds())
	}
	return nil
}

// findTrees resolves the links to tree and layers: the cache's may move on while the VM runs.
func (m *machine) findTrees(tree string) (err error) {
	if !strings.Contains(tree, "/") {
		if _, err := os.Stat(cacheDir("rootfs", tree)); err != nil {
			return fmt.Errorf("tree %s is not in the cache: run test/rootfs %s", tree, tree)
		}
		tree = cacheDir("rootfs", tree)
	}
	if m.Tree, err = filepath.EvalSymlinks(tree); err != nil {
		return err
	}
	for i, layer := range m.Layers {
		abs, err := filepath.Abs(layer)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return err
		}
		m.Layers[i] = abs
	}
	return nil
}

// start makes the disks and runs qemu.
func (m *machine) start(ctx context.Context, hw hardware) error {
	vmlinuz, initrd, err := kernel(m.Tree)
	if err != nil {
		return err
	}
	base, err := rootDisk(ctx, m.Tree, hw.disk)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, m.dir("disk.qcow2")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make overlay of disk: %s: %w", strings.TrimSpace(string(out)), err)
	}
	drives := []string{"file=" + m.dir("disk.qcow2") + ",format=qcow2,if=virtio,cache=unsafe"}
	for i, layer := range m.Layers {
		image, err := m.layerDisk(ctx, i, layer)
		if err != nil {
			return err
		}
		// snapshot: a layer is shared, and mounting an ext4 writes to it.
		drives = append(drives, "file="+image+",format=raw,if=virtio,cache=unsafe,snapshot=on")
	}
	// The time it takes to make disks, once, is not the VM's.
	m.Booted = time.Now()
	for range 5 {
		if m.Port, err = freePort(); err != nil {
			return err
		}
		if err = m.startQemu(hw, vmlinuz, initrd, drives); err == nil {
			return m.save()
		}
	}
	return err
}

// freePort asks for a port and gives it back: another may take it before qemu does, so start tries again.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (m *machine) startQemu(hw hardware, vmlinuz, initrd string, drives []string) error {
	args := []string{
		"-name", m.Name, "-m", hw.memory, "-smp", hw.cpus, "-accel", accelerator(), "-cpu", cpuModel,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", vmlinuz, "-initrd", initrd,
		"-append", strings.TrimSpace("root=/dev/vda rootfstype=ext4 rw console=ttyS0 quiet panic=-1 systemd.unified_cgroup_hierarchy=1 " +
			"systemd.show_status=false mitigations=off modprobe.blacklist=" + unwanted + " " + hw.append),
		"-serial", "file:" + m.dir("console"),
		"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", m.Port),
		"-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
	}
	for _, d := range drives {
		args = append(args, "-drive", d)
	}
	log, err := os.Create(m.dir("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	// It outlives this process, and a Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	m.Pid = cmd.Process.Pid
	if err := m.save(); err != nil {
		return err
	}
	// qemu says at once what it does not like.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		text, _ := os.ReadFile(m.dir("log"))
		return fmt.Errorf("qemu: %s: %v", strings.TrimSpace(string(text)), err)
	case <-time.After(300 * time.Millisecond):
		return nil
	}
}

// accelerator is emulation unless BERTH_VM_ACCEL asks for another, as kvm: that there is a /dev/kvm does not mean that
// a guest gets anywhere with it, on a machine that is itself a guest.
//
// All of the guest's CPUs in one thread: with a thread each, qemu 7.2 now and then runs half of an instruction that another
// CPU is patching (static keys, as when a clock turns out unstable), and the guest's kernel dies. It costs little, for
// booting is hardly parallel.
func accelerator() string {
	if a := os.Getenv("BERTH_VM_ACCEL"); a != "" {
		return a
	}
	return "tcg,thread=single"
}

// waitUp waits for sshd, then for systemd.
func (m *machine) waitUp(ctx context.Context) error {
	for !m.connect(ctx) {
		if !m.alive() {
			return errors.New("qemu ended")
		}
		select {
		case <-ctx.Done():
			return errors.New("no answer from sshd in time")
		case <-time.After(200 * time.Millisecond):
		}
	}
	cmd := m.ssh(ctx, "systemctl is-system-running --wait")
	out, err := cmd.CombinedOutput()
	state := strings.TrimSpace(string(out))
	if err != nil && state != "degraded" {
		return fmt.Errorf("systemd is %q: %w", state, err)
	}
	if state == "degraded" {
		failed, err := m.ssh(ctx, "systemctl list-units --failed --plain --no-legend").Output()
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(failed)) {
			fmt.Fprintf(os.Stderr, "vm: %s: failed unit: %s", m.Name, line)
		}
	}
	return nil
}

// tail is the end of the console, for an error message.
func (m *machine) tail() string {
	data, err := os.ReadFile(m.dir("console"))
	if err != nil || len(data) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "\n  " + strings.Join(lines[max(0, len(lines)-15):], "\n  ") + "\n  (port " + strconv.Itoa(m.Port) + ")"
}

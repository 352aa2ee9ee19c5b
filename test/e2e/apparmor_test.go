package e2e

import (
	"os"
	"strings"
	"testing"
)

// needAppArmor skips where no profile can be loaded.
func needAppArmor(t *testing.T) {
	t.Helper()
	if b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || !strings.HasPrefix(string(b), "Y") {
		t.Skip("this kernel has no AppArmor")
	}
	if _, err := os.Stat("/usr/sbin/apparmor_parser"); err != nil {
		t.Skip("needs apparmor_parser: test/bin/lane vmfull257")
	}
}

const (
	appArmorProfile = "/usr/share/berth/apparmor/berth-default"
	whichProfile    = "cat /proc/self/attr/apparmor/current"
	confined        = "berth-default (enforce)\n"
)

// unloadAppArmor takes the default profile out of the kernel, as a boot does.
func (h *host) unloadAppArmor() {
	h.Helper()
	h.sh("grep -q '^berth-default ' /sys/kernel/security/apparmor/profiles && apparmor_parser -R " + appArmorProfile)
	if r := h.sh("grep -c '^berth-default ' /sys/kernel/security/apparmor/profiles"); strings.TrimSpace(r.stdout) != "0" {
		h.Fatalf("the profile is still loaded: %v", r)
	}
}

func TestAppArmor(t *testing.T) {
	needAppArmor(t)
	runtimes(t, func(t *testing.T, runtime string) {
		h := product(t)
		h.pull(busybox)
		run := func(args ...string) []string { return append([]string{"run", "--rm", "--runtime", runtime}, args...) }
		h.unloadAppArmor()
		h.want(0, confined, run(busybox, "sh", "-c", whichProfile)...)
		h.want(0, confined, run("--security-opt", "no-new-privileges", "-u", "1000", busybox, "sh", "-c", whichProfile)...)
		h.want(0, "unconfined\n", run("--security-opt", "apparmor=unconfined", busybox, "sh", "-c", whichProfile)...)
		h.want(0, "unconfined\n", run("--privileged", busybox, "sh", "-c", whichProfile)...)
		h.want(0, confined, run("--privileged", "--security-opt", "apparmor=berth-default", busybox, "sh", "-c", whichProfile)...)
		h.refuse(125, []string{"no-such-profile", "loaded"}, run("--security-opt", "apparmor=no-such-profile", busybox, "true")...)

		h.ok("run", "-d", "--runtime", runtime, "--name", "web", busybox, "sleep", "1000")
		h.want(0, confined, "exec", "web", "sh", "-c", whichProfile)
		h.want(0, "berth-default\n", "inspect", "--format", "{{.AppArmorProfile}}", "web")
		h.want(0, "", "exec", "web", "kill", "-0", "1")
		h.ok("stop", "-t", "1", "web")
		h.want(0, "berth-default\n", "inspect", "--format", "{{.AppArmorProfile}}", "web")

		// After a boot nothing is loaded, and the other door asks no client.
		h.unloadAppArmor()
		if r := h.systemctl("start", "container@web"); r.code != 0 {
			h.Fatal(r)
		}
		h.want(0, confined, "exec", "web", "sh", "-c", whichProfile)
		h.ok("rm", "-f", "-t", "0", "web")
	})
}

// What the profile denies, where nothing else does: as root with all
// capabilities, and nothing of /proc and /sys hidden or read-only.
func TestAppArmorDenies(t *testing.T) {
	needAppArmor(t)
	h := product(t)
	h.pull(busybox)
	script := `mount -o remount,rw /sys 2>/dev/null
for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/sysrq /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug /proc/sys/vm/swappiness \
	/proc/sys/fs/mount-max /proc/sysrq-trigger /sys/kernel/mm/transparent_hugepage/enabled /proc/sys/kernel/hostname /proc/sys/kernel/msgmax \
	/proc/sys/kernel/sem /proc/sys/fs/mqueue/queues_max /proc/sys/net/ipv4/ip_forward; do
	[ -e $f ] || continue
	(: >>$f) 2>/dev/null && echo $f
done
(: </proc/kcore) 2>/dev/null && echo /proc/kcore
mount -t tmpfs none /mnt 2>/dev/null && echo mounted
exit 0`
	all := []string{"run", "--rm", "--cap-add", "ALL", "--security-opt", "systempaths=unconfined", "--security-opt", "seccomp=unconfined", "--tmpfs", "/mnt"}
	h.want(0, strings.Join([]string{
		"/proc/sys/kernel/hostname", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/sem", "/proc/sys/fs/mqueue/queues_max", "/proc/sys/net/ipv4/ip_forward", "",
	}, "\n"), append(all, busybox, "sh", "-c", script)...)
	// It is the profile that denies.
	r := h.berth(append(all, "--security-opt", "apparmor=unconfined", busybox, "sh", "-c", script)...)
	for _, want := range []string{"core_pattern", "sysrq", "swappiness", "kcore", "mounted"} {
		if !strings.Contains(r.stdout, want) {
			h.Errorf("unconfined: no %s: %v", want, r)
		}
	}
}

// Where the default cannot be had: without a parser a container runs without it,
// unless it asks for it by name; with a profile that is none it does not run.
func TestAppArmorWithoutProfile(t *testing.T) {
	needAppArmor(t)
	h := product(t)
	h.pull(busybox)
	const parser, own = "/usr/sbin/apparmor_parser", "/etc/apparmor.d/berth-default"
	show := []string{busybox, "sh", "-c", whichProfile}
	run := func(args ...string) []string { return append([]string{"run", "--rm"}, args...) }

	h.unloadAppArmor()
	write(t, own, "profile berth-default {\n  nonsense\n}\n")
	t.Cleanup(func() { os.Remove(own) })
	h.refuse(125, []string{"load AppArmor profile berth-default"}, run(show...)...)
	h.want(0, "unconfined\n", run(append([]string{"--security-opt", "apparmor=unconfined"}, show...)...)...)
	write(t, own, "profile berth-default flags=(attach_disconnected,complain) {\n  file,\n}\n")
	h.want(0, "berth-default (complain)\n", run(show...)...) // the administrator's own
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}

	h.unloadAppArmor()
	if err := os.Rename(parser, parser+".away"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Rename(parser+".away", parser) })
	h.want(0, "unconfined\n", run(show...)...)
	h.refuse(125, []string{"berth-default", "loaded"}, run(append([]string{"--security-opt", "apparmor=berth-default"}, show...)...)...)
}

// Those outside can signal a confined process, and it its own kind.
func TestAppArmorSignals(t *testing.T) {
	needAppArmor(t)
	h := product(t)
	h.pull(busybox)
	h.ok("run", "-d", "--name", "web", busybox, "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
	h.ok("stop", "-t", "30", "web")
	h.want(0, "7\n", "inspect", "--format", "{{.State.ExitCode}}", "web")
	h.ok("rm", "web")
	h.want(0, "143\n", "run", "--rm", busybox, "sh", "-c", "sleep 100 & kill -TERM $!; wait $!; echo $?")
}

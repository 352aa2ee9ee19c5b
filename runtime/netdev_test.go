package runtime

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// withDevices runs a container from a network namespace that has a pair of
// devices, v0 with addresses and v1 without.
func (s *subject) withDevices(t *testing.T, b string) result {
	t.Helper()
	script := `ip link add v0 mtu 1400 type veth peer name v1 && ip addr add 10.9.8.7/24 dev v0 && ip addr add 10.9.8.8/32 dev v0 &&
ip -6 addr add fd00::7/64 dev v0 nodad && ip addr add 10.0.0.1/24 scope link dev v0 && ip link set v0 up && ip link set v0 alias known && exec "$@"`
	argv := append([]string{"-n", "sh", "-c", script, "sh"}, append(append([]string{}, s.argv...), "run", "--bundle", b, s.id(t))...)
	cmd := exec.Command("unshare", argv...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Run()
	return result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

func TestNetDevices(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip")
	}
	for name, c := range map[string]struct {
		devices      map[string]specs.LinuxNetDevice
		script, want string
	}{
		"same name": {map[string]specs.LinuxNetDevice{"v0": {}},
			"ip -o -4 addr show dev v0 | sed 's/.*inet //; s/ .*//'; ip -o -6 addr show dev v0 scope global | sed 's/.*inet6 //; s/ .*//'; ip -o link show dev v0 | grep -o 'mtu 1400' ; ip link show dev v0 | grep -c '<.*[,<]UP'",
			"10.9.8.7/24\n10.9.8.8/32\nfd00::7/64\nmtu 1400\n1"},
		"renamed": {map[string]specs.LinuxNetDevice{"v0": {Name: "eth0"}, "v1": {Name: "eth1"}},
			"ip -o link | grep -o 'eth[01]' | sort -u; ip -o -4 addr show dev eth0 | wc -l", "eth0\neth1\n2"},
		"template": {map[string]specs.LinuxNetDevice{"v0": {Name: "net%d"}, "v1": {Name: "net%d"}},
			"ip -o link | grep -o 'net[0-9]' | sort -u", "net0\nnet1"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *subject) {
				s.needs(t, "linux.netDevices", "runc 1.4", "crun 1.24")
				b := bundle(t, func(c2 *specs.Spec) { c2.Linux.NetDevices = c.devices }, "sh", "-c", c.script)
				s.withDevices(t, b).want(t, c.want)
			})
		})
	}
}

func TestNetDevicesRefused(t *testing.T) {
	for name, c := range map[string]struct {
		device, as string
		want       string
	}{
		"missing": {"v9", "", "move network device v9: no such device"},
		"in use":  {"v0", "lo", "move network device v0: lo: file exists"},
		"lo":      {"lo", "", "move network device lo: lo: file exists"},
		"not one": {"v0", "a/b", `"a/b" is no name`},
		"long":    {"v0", "sixteen-and-more", "is no name"},
		"format":  {"v0", "%s", "is no name"},
		"twice":   {"v0", "%d%d", "is no name"},
	} {
		t.Run(name, func(t *testing.T) {
			s := ours(t)
			b := bundle(t, func(spec *specs.Spec) {
				spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{c.device: {Name: c.as}}
			}, "true")
			if r := s.withDevices(t, b); r.status != 1 || !strings.Contains(r.err, c.want) {
				t.Errorf("got %swant %q", r, c.want)
			}
		})
	}
	t.Run("host", func(t *testing.T) {
		s := ours(t)
		r := s.shell(t, func(c *specs.Spec) {
			setNamespace(c, specs.NetworkNamespace, "-")
			c.Linux.NetDevices = map[string]specs.LinuxNetDevice{"v0": {}}
		}, "true")
		r.wantAll(t, "netDevices need a network namespace")
	})
}

func FuzzNetlink(f *testing.F) {
	f.Add(appendAttr(append([]byte{36, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, linkMessage(1, 0)...), unix.IFLA_IFNAME, []byte("lo\x00")))
	f.Add([]byte{20, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _, _ := answers(b, 1)
		for _, m := range list {
			n := 0
			for _, v := range attrsIn(m) {
				n += len(v)
			}
			if n > len(m) {
				t.Errorf("%d bytes of attributes in %d", n, len(m))
			}
		}
	})
}

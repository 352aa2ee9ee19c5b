package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// moveDevices moves linux.netDevices from the host's network namespace to the
// container's, with their addresses, and brings them up there.
// Preconditions: the init exists; nothing has been asked of the host's hooks yet.
func (l *launch) moveDevices() error {
	list := l.spec.Linux.NetDevices
	if len(list) == 0 {
		return nil
	}
	if l.ns.fresh&unix.CLONE_NEWNET != 0 {
		if err := unix.Setns(l.pidfd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("join network namespace of init: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if err := l.moveDevice(name, list[name].Name); err != nil {
			return fmt.Errorf("move network device %s: %w", name, err)
		}
	}
	return nil
}

func (l *launch) moveDevice(name, as string) error {
	if as == "" {
		as = name
	}
	inside, err := dialRoute()
	if err != nil {
		return err
	}
	defer unix.Close(inside.fd)
	// The kernel would say so only when the device is here already, to vanish
	// with the namespace.
	if index, err := linkIndex(as); err == nil && index > 0 {
		return fmt.Errorf("%s: %w", as, unix.EEXIST)
	}
	before, err := inside.links()
	if err != nil {
		return err
	}
	var addrs [][]byte
	err = l.onHost(func() (err error) { addrs, err = sendDevice(name, as, l.pid); return err })
	if err != nil {
		return err
	}
	after, err := inside.links()
	if err != nil {
		return err
	}
	index := int32(-1)
	for i := range after {
		if !before[i] {
			index = i // the one that it had, unless somebody has that here
		}
	}
	if index < 0 {
		return errors.New("it has not arrived")
	}
	for _, a := range addrs {
		binary.NativeEndian.PutUint32(a[4:], uint32(index))
		if _, err := inside.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a); err != nil {
			return fmt.Errorf("add address: %w", err)
		}
	}
	if _, err := inside.do(unix.RTM_NEWLINK, 0, linkMessage(index, unix.IFF_UP)); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

// sendDevice moves a device of this network namespace to a process's and
// returns what there is to be told of its addresses.
func sendDevice(name, as string, pid int) ([][]byte, error) {
	index, err := linkIndex(name)
	if err != nil {
		return nil, err
	}
	here, err := dialRoute()
	if err != nil {
		return nil, err
	}
	defer unix.Close(here.fd)
	addrs, err := here.addresses(index)
	if err != nil {
		return nil, err
	}
	path := "/proc/" + strconv.Itoa(pid) + "/ns/net"
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(ns)
	msg := linkMessage(index, 0)
	msg = appendAttr(msg, unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(ns)))
	if as != name {
		msg = appendAttr(msg, unix.IFLA_IFNAME, append([]byte(as), 0))
	}
	_, err = here.do(unix.RTM_NEWLINK, 0, msg)
	return addrs, err
}

// linkIndex is the number of a device of the thread's network namespace.
func linkIndex(name string) (int32, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int32(req.Uint32()), nil
}

// route is a connection to the kernel's routing netlink.
type route struct {
	fd  int
	seq uint32
}

func dialRoute() (*route, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &route{fd: fd}, nil
}

// do sends a request and returns the bodies of its answers.
func (r *route) do(kind uint16, flags uint16, body []byte) ([][]byte, error) {
	r.seq++
	if flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		flags |= unix.NLM_F_ACK
	}
	b := make([]byte, 0, unix.SizeofNlMsghdr+len(body))
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, r.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, body...)
	if err := unix.Sendto(r.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var list [][]byte
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		more, done, err := answers(buf[:n], r.seq)
		list = append(list, more...)
		if done || err != nil {
			return list, err
		}
	}
}

// answers splits what the kernel has sent; done says that nothing follows.
func answers(b []byte, seq uint32) (list [][]byte, done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return list, true, errors.New("netlink: malformed answer")
		}
		kind, of := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
		body := b[unix.SizeofNlMsghdr:size]
		b = b[min((size+3)&^3, len(b)):]
		switch {
		case of != seq:
		case kind == unix.NLMSG_DONE:
			return list, true, nil
		case kind == unix.NLMSG_ERROR:
			if len(body) < 4 {
				return list, true, errors.New("netlink: malformed answer")
			}
			if errno := int32(binary.NativeEndian.Uint32(body)); errno != 0 {
				return list, true, unix.Errno(-errno)
			}
			return list, true, nil
		default:
			list = append(list, slices.Clone(body))
		}
	}
	return list, false, nil
}

// links are the numbers of the namespace's devices.
func (r *route) links() (map[int32]bool, error) {
	list, err := r.do(unix.RTM_GETLINK, unix.NLM_F_DUMP, linkMessage(0, 0))
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	links := make(map[int32]bool, len(list))
	for _, m := range list {
		if len(m) >= unix.SizeofIfInfomsg {
			links[int32(binary.NativeEndian.Uint32(m[4:]))] = true
		}
	}
	return links, nil
}

// addresses are the messages that give a device the addresses which it has now:
// those that are there for good and for the world. In each, the device's number
// is at 4.
func (r *route) addresses(index int32) ([][]byte, error) {
	list, err := r.do(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var addrs [][]byte
	for _, m := range list {
		// struct ifaddrmsg: family, prefix length, flags, scope, index
		if len(m) < unix.SizeofIfAddrmsg || int32(binary.NativeEndian.Uint32(m[4:])) != index || m[3] != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		msg, flags := slices.Clone(m[:unix.SizeofIfAddrmsg]), uint32(m[2])
		for kind, value := range attrsIn(m[unix.SizeofIfAddrmsg:]) {
			switch kind {
			case unix.IFA_FLAGS:
				if len(value) == 4 {
					flags = binary.NativeEndian.Uint32(value)
				}
			case unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY:
				msg = appendAttr(msg, kind, value)
			}
		}
		if flags&unix.IFA_F_PERMANENT == 0 {
			continue
		}
		// What the kernel finds out by itself is not to be told to it.
		flags &= unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_MCAUTOJOIN
		msg[2] = byte(flags)
		addrs = append(addrs, appendAttr(msg, unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, flags)))
	}
	return addrs, nil
}

// attrsIn walks over the attributes of a message.
func attrsIn(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// linkMessage is a struct ifinfomsg about a device, setting the flags given.
func linkMessage(index int32, flags uint32) []byte {
	b := make([]byte, 4, unix.SizeofIfInfomsg)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, flags)
	return binary.NativeEndian.AppendUint32(b, flags)
}

// checkDevices checks linux.netDevices.
func checkDevices(s *specs.Spec) error {
	if len(s.Linux.NetDevices) == 0 {
		return nil
	}
	own := slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	if !own {
		return errors.New("netDevices need a network namespace")
	}
	for name, d := range s.Linux.NetDevices {
		if !deviceName(name) || strings.Contains(name, "%") {
			return fmt.Errorf("netDevices: %q is no name of a device", name)
		}
		// A template, as the kernel takes it: %d once.
		as := strings.Replace(d.Name, "%d", "0", 1)
		if d.Name != "" && (!deviceName(d.Name) || strings.Contains(as, "%")) {
			return fmt.Errorf("netDevices: %q is no name for a device", d.Name)
		}
	}
	return nil
}

// deviceName says whether the kernel would take a name (dev_valid_name).
func deviceName(s string) bool {
	return s != "" && len(s) < unix.IFNAMSIZ && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r\x00") &&
		strings.IndexByte(s, 0xa0) < 0 // a space, too
}

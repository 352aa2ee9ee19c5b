package checkpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/runtime"
)

func TestRequest(t *testing.T) {
	o := &Options{LeaveRunning: true, TCPEstablished: true, FileLocks: true, ManageCgroups: "strict", EmptyNS: []string{"network"}}
	r, err := o.request()
	if err != nil {
		t.Fatal(err)
	}
	if !r.GetLeaveRunning() || !r.GetTcpEstablished() || !r.GetFileLocks() || r.GetShellJob() || r.GetLazyPages() ||
		r.GetManageCgroupsMode() != rpc.CriuCgMode_STRICT || !r.GetManageCgroups() || r.GetEmptyNs() != unix.CLONE_NEWNET {
		t.Errorf("got %v", r)
	}
	if r, err = (&Options{ManageCgroups: "ignore"}).request(); err != nil || r.GetManageCgroups() {
		t.Errorf("ignored cgroups are managed: %v", err)
	}
	if _, err := (&Options{ManageCgroups: "nonsense"}).request(); err == nil {
		t.Error("a mode of nonsense is none")
	}
	if _, err := (&Options{EmptyNS: []string{"mount"}}).request(); !errors.Is(err, runtime.ErrNotSupported) {
		t.Errorf("an empty mount namespace: %v", err)
	}
}

func TestPageServer(t *testing.T) {
	for in, want := range map[string]string{"127.0.0.1:27": "127.0.0.1 27", "[::1]:65535": "::1 65535", "": "", "127.0.0.1": "!", "127.0.0.1:0": "!", ":27": "!", "host:27": "!", "127.0.0.1:99999": "!"} {
		got, err := pageServer(in)
		switch {
		case want == "!":
			if err == nil {
				t.Errorf("%q: no error", in)
			}
		case err != nil:
			t.Errorf("%q: %v", in, err)
		case want == "":
			if got != nil {
				t.Errorf("%q: got %v", in, got)
			}
		default:
			addr, port, _ := strings.Cut(want, " ")
			if got.GetAddress() != addr || port != strconv.Itoa(int(got.GetPort())) {
				t.Errorf("%q: got %v", in, got)
			}
		}
	}
}

func TestExternal(t *testing.T) {
	s := &specs.Spec{Linux: &specs.Linux{MaskedPaths: []string{"/proc/kcore", "/proc/acpi"}}, Mounts: []specs.Mount{
		{Destination: "/", Type: "bind", Source: "/root", Options: []string{"bind"}},
		{Destination: "/vol/", Type: "bind", Source: "/host", Options: []string{"rbind"}},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
	}}
	list := mounts(s)
	for at, source := range map[string]string{"/vol": "/host", "/proc/kcore": "/dev/null", "/dev/zero": "/dev/zero"} {
		if list[at] != source {
			t.Errorf("%s is %q, want %q", at, list[at], source)
		}
	}
	for _, at := range []string{"/", "/tmp"} {
		if _, ok := list[at]; ok {
			t.Errorf("%s is external", at)
		}
	}
	small := map[string]string{"/vol": "/host"}
	if d := cmp.Diff([]string{"mnt[/vol]:/vol"}, external(small, false)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"mnt[/vol]:/host"}, external(small, true)); d != "" {
		t.Error(d)
	}
}

func TestFirstError(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if got := firstError(log); got != "" {
		t.Errorf("of no log: %q", got)
	}
	text := "(00.1) Warn x\n(00.2) Error (a.c:1): the cause\n(00.3) Error (b.c:2): what followed\n"
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstError(log); got != "(a.c:1): the cause" {
		t.Errorf("got %q", got)
	}
	if err := os.WriteFile(log, []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := firstError(log); got != "" {
		t.Errorf("of noise: %q", got)
	}
}

// A peer that is not CRIU, and one that ends, are no reason to hang or to crash.
func TestHostilePeer(t *testing.T) {
	for name, answer := range map[string][]byte{"nothing": nil, "noise": []byte("\xff\xff\xff\xff\xff"), "empty": {0}} {
		t.Run(name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			if answer != nil {
				if err := unix.Send(pair[1], answer, 0); err != nil {
					t.Fatal(err)
				}
			}
			// What is asked is not read: only the answer counts.
			if err := unix.Shutdown(pair[1], unix.SHUT_WR); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[1])
			p := &peer{sock: pair[0], log: "/no/such/log"}
			err = p.request(rpc.CriuReqType_DUMP, &rpc.CriuOpts{}, nil)
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	b, err := (&rpc.CriuResp{Type: new(rpc.CriuReqType_NOTIFY), Success: new(true), Notify: &rpc.CriuNotify{Script: new("post-restore"), Pid: new(int32(1))}}).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		resp := new(rpc.CriuResp)
		if err := resp.UnmarshalVT(b); err == nil {
			(&peer{}).failure(resp) //nolint:errcheck // only that it ends
		}
	})
}

package unit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// sample is a description with every field set that a unit of its type takes.
func sample(t testing.TB, name string) *Spec {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	cmd := []Command{{Argv: []string{"/bin/true", "a b", `$HOME 100% "q" \n`, "\x01ü"}, IgnoreFailure: true}}
	plain := []Command{{Argv: []string{"/bin/true", "$x"}}}
	disk := []DeviceLimit{{"/dev/null", 100}}
	here := []string{"basic.target"}
	none := []string{"berthtest-none.service"}
	return &Spec{
		Name: name,
		Dependencies: Dependencies{
			Wants: here, Requires: here, Requisite: here, BindsTo: here, PartOf: here, Upholds: here, Conflicts: none,
			Before: none, After: here, PropagatesStopTo: none, OnFailure: none, OnSuccess: none, JoinsNamespaceOf: none,
			RequiresMountsFor: []string{"/"},
		},
		Exec: Exec{
			Environment: []string{"A=1 2", "B=%h"}, PassEnvironment: []string{"LANG"}, WorkingDirectory: "/", User: "root", Group: "root",
			UMask: new(uint32(0o27)), NoNewPrivileges: new(true), OOMScoreAdjust: new(int32(-1)), Nice: new(int32(0)),
			StandardInput: "null", StandardOutput: "journal", StandardError: "inherit",
			StandardInputFile: null, StandardOutputFile: null, StandardErrorFile: null,
			SyslogIdentifier: "test", LogExtraFields: []string{"A=x y", "B=%"}, LogNamespace: "berthtest",
			LogLevelMax:          "notice",
			LogRateLimitInterval: new(time.Duration(0)), LogRateLimitBurst: new(uint32(0)),
			LimitNOFILE: new(uint64(1024)), LimitCORE: new(uint64(0)), LimitNPROC: new(uint64(1000)), LimitMEMLOCK: new(Infinity),
			LimitSTACK: new(uint64(8 << 20)), LimitSIGPENDING: new(uint64(100)),
		},
		Kill: Kill{Mode: "mixed", Signal: 15, SendSIGKILL: new(false), SendSIGHUP: new(true), FinalSignal: 9},
		Resources: Resources{
			Slice: "system.slice", Delegate: new(true), DelegateControllers: []string{"pids"}, DelegateSubgroup: "supervisor",
			TasksMax: 100, MemoryMin: 1 << 20, MemoryLow: 1 << 20, MemoryHigh: 1 << 30, MemoryMax: Infinity, MemorySwapMax: new(uint64(0)),
			MemoryZSwapMax: new(uint64(0)), CPUWeight: 50, CPUQuota: 1.5, CPUQuotaPeriod: 50 * time.Millisecond,
			AllowedCPUs: "0-1", AllowedMemoryNodes: "0", IOWeight: 100, IODeviceWeight: disk, IOReadBandwidthMax: disk,
			IOWriteBandwidthMax: disk, IOReadIOPSMax: disk, IOWriteIOPSMax: disk, DevicePolicy: "closed",
			DeviceAllow:      []Device{{"/dev/null", "rw"}, {"char-pts", "rwm"}},
			ManagedOOMMemory: "kill", ManagedOOMSwap: "auto", CPUAccounting: new(true), MemoryAccounting: new(true), IOAccounting: new(true), TasksAccounting: new(true),
		},
		Service: Service{
			Type: "exec", ExitType: "main", ExecCondition: cmd, ExecStartPre: cmd, ExecStart: cmd, ExecStartPost: cmd, ExecReload: cmd,
			ExecStop: cmd, ExecStopPost: cmd, RemainAfterExit: true, NotifyAccess: "main", Restart: "on-abnormal", RestartMode: "direct",
			RestartSec:             new(1500 * time.Microsecond),
			RestartForceExitStatus: &ExitStatus{Status: []int32{219}}, RestartPreventExitStatus: &ExitStatus{Signal: []int32{9}},
			SuccessExitStatus: &ExitStatus{Status: []int32{3}, Signal: []int32{10}},
			TimeoutStart:      new(Forever), TimeoutStop: new(time.Second), RuntimeMax: time.Hour, Watchdog: time.Minute,
			FileDescriptorStoreMax: 64, FileDescriptorStorePreserve: "restart", OOMPolicy: "continue",
			OpenFile: []OpenFile{{Path: "/dev/null", Name: "null", ReadOnly: true, Graceful: true}},
		},
		Socket: Socket{
			Listen: []Listen{{"Stream", "/run/berthtest/a"}, {"Datagram", "/run/berthtest/b"}}, FileDescriptorName: "ctl", Accept: new(false),
			SocketMode: 0o600, DirectoryMode: 0o700, SocketUser: "root", SocketGroup: "root", RemoveOnStop: true,
			Symlinks: []string{"/run/berthtest/c"}, Backlog: 10, MaxConnections: 5, PassCredentials: true, PassFileDescriptorsToExec: true,
			FlushPending: true, TriggerLimitInterval: new(time.Duration(0)), TriggerLimitBurst: new(uint32(0)), ReusePort: true, FreeBind: true,
			KeepAlive: true, NoDelay: true, BindIPv6Only: "both", BindToDevice: "lo", SocketProtocol: "sctp",
			ExecStartPre: plain, ExecStartPost: plain, ExecStopPre: plain, ExecStopPost: plain,
		},
		Scope:       Scope{PIDs: []uint32{1}, RuntimeMax: time.Hour, OOMPolicy: "continue", TimeoutStop: new(time.Second)},
		Description: "100% test", Documentation: []string{"man:true(1)"}, CollectMode: "inactive-or-failed", DefaultDependencies: new(false),
		IgnoreOnIsolate: true, StopWhenUnneeded: true, SurviveFinalKillSignal: true,
		StartLimitInterval: new(time.Duration(0)), StartLimitBurst: 7, ConditionPathExists: []string{"/run/%"},
	}
}

var types = []string{".service", ".socket", ".scope", ".slice"}

// TestTable: every row is used, says something on the bus of the signature it
// names, and something in a file.
func TestTable(t *testing.T) {
	used := make(map[*row]bool)
	for _, suffix := range types {
		seen := make(map[string]bool)
		s := sample(t, "berthtest"+suffix)
		err := s.each(0, func(r *row, v *value) error {
			used[r] = true
			if seen[r.prop] && r.prop != "" {
				t.Errorf("%s: two rows for %s", suffix, r.prop)
			}
			seen[r.prop] = true
			bus := v.bus
			if f, ok := bus.(*os.File); ok {
				bus = dbus.UnixFD(rawFD(f))
			}
			if sig := dbus.SignatureOf(bus).String(); sig != r.kind.sig {
				t.Errorf("%s: signature %s, want %s", r.prop, sig, r.kind.sig)
			}
			if r.key != "" && (v.lines == nil || len(v.lines()) == 0) {
				t.Errorf("%s: no text", r.key)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for i := range table {
		if !used[&table[i]] {
			t.Errorf("row %s: not in the sample", table[i].name())
		}
	}
}

// TestFields: every field of Spec is in the table.
func TestFields(t *testing.T) {
	s := sample(t, "berthtest.service")
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			name := path + v.Type().Field(i).Name
			f := v.Field(i)
			switch {
			case name == "Name" || name == "Aux" || name == "Properties":
			case f.Kind() == reflect.Struct:
				walk(name+".", f)
			case f.IsZero():
				t.Errorf("%s: not in the sample", name)
			default:
				found := false
				for i := range table {
					before, _ := table[i].kind.get(s)
					old := reflect.New(f.Type()).Elem()
					old.Set(f)
					f.SetZero()
					after, _ := table[i].kind.get(s)
					f.Set(old)
					found = found || before != nil && after == nil
				}
				if !found {
					t.Errorf("%s: no row of the table reads it", name)
				}
			}
		}
	}
	walk("", reflect.ValueOf(s).Elem())
}

func TestDropIn(t *testing.T) {
	s := &Spec{
		Name:         "web.service",
		Description:  "50% web",
		Dependencies: Dependencies{After: []string{"a.service", "b.service"}},
		Exec:         Exec{Environment: []string{"A=1", "B=x y", "C=%h\n\"\\"}, LogExtraFields: []string{"N=a b"}},
		Resources: Resources{
			MemoryMax: 1 << 30, MemorySwapMax: new(Infinity), CPUQuota: 0.255, DeviceAllow: []Device{{"/dev/a b", "rw"}},
			IODeviceWeight: []DeviceLimit{{"/dev/sda", 10}},
		},
		Service: Service{
			ExecStart:         []Command{{Argv: []string{"/bin/sh", "-c", "echo $HOME; exit 100%"}}, {Path: "/bin/sh", Argv: []string{"-sh"}, IgnoreFailure: true}},
			RestartSec:        new(time.Duration(0)),
			TimeoutStart:      new(Forever),
			SuccessExitStatus: &ExitStatus{Status: []int32{3}, Signal: []int32{10}},
		},
	}
	want := `[Unit]
Description=50%% web
After=a.service
After=b.service

[Service]
ExecStart=/bin/sh -c "echo $$HOME; exit 100%%"
ExecStart=-@/bin/sh -sh
RestartSec=0us
SuccessExitStatus=3 SIGUSR1
TimeoutStartSec=infinity
Environment=A=1
Environment="B=x y"
Environment="C=%%h\n\"\\"
LogExtraFields="N=a b"
MemoryMax=1073741824
MemorySwapMax=infinity
CPUQuota=25.5%
IODeviceWeight=/dev/sda 10
DeviceAllow="/dev/a b" rw
`
	got, err := s.DropIn(252)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	k := &Spec{Name: "web.socket", Socket: Socket{
		Listen: []Listen{{"Stream", "/run/%/a"}}, SocketMode: 0o600, Accept: new(false),
		ExecStopPost: []Command{{Argv: []string{"/bin/sweep", "$x"}}},
	}}
	want = "[Socket]\nListenStream=/run/%%/a\nAccept=no\nSocketMode=0600\nExecStopPost=/bin/sweep $$x\n"
	if got, err := k.DropIn(0); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for name, bad := range map[string]*Spec{
		"second line":       {Name: "a.service", Description: "x\n[Service]\nExecStart=/bin/evil"},
		"list item":         {Name: "a.service", Dependencies: Dependencies{After: []string{"x\nWants=y"}}},
		"bad bytes":         {Name: "a.service", Description: "\xff"},
		"descriptor":        {Name: "a.service", Exec: Exec{StandardInputFile: os.Stdin}},
		"quota":             {Name: "a.service", Resources: Resources{CPUQuota: -1}},
		"not a number":      {Name: "a.service", Resources: Resources{CPUQuota: math.NaN()}},
		"CPU list":          {Name: "a.service", Resources: Resources{AllowedCPUs: "0-"}},
		"CPU list, newline": {Name: "a.service", Resources: Resources{AllowedCPUs: "0\n"}},
		"protocol":          {Name: "a.socket", Socket: Socket{SocketProtocol: "ip"}},
	} {
		if text, err := bad.DropIn(0); err == nil {
			t.Errorf("%s: written as %q", name, text)
		}
	}
	_, err = (&Spec{Name: "a.service", Service: Service{RestartMode: "direct"}}).DropIn(252)
	if !errors.Is(err, ErrNotSupported) {
		t.Errorf("RestartMode= for 252: got %v", err)
	}
}

func TestBitmap(t *testing.T) {
	for s, want := range map[string][]byte{
		"0": {1}, "0-3,5": {0x2f}, "8": {0, 1}, "1,0": {3}, "0-15": {0xff, 0xff}, " 1, 2": {6},
	} {
		if got, err := parseBitmap(s); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ",", "-", "3-1", "a", "0-99999", "8192", "-1", "1--2", "0x1"} {
		if got, err := parseBitmap(s); err == nil {
			t.Errorf("%q: taken as %v", s, got)
		}
	}
}

// TestTableSystem gives every setting to the real manager, one by one and as
// text.
func TestTableSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c, err := Dial(t.Context())
	if errors.Is(err, ErrNoSystemd) {
		t.Skip("needs systemd as PID 1 (/run/systemd/private does not answer)")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	version, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, suffix := range []string{".service", ".socket", ".slice"} {
		s := sample(t, "berthtest"+suffix)
		s.each(0, func(r *row, v *value) error {
			if r.prop != "" {
				t.Run(suffix[1:]+"/"+r.prop, func(t *testing.T) { oneProperty(t, c, version, suffix, r, v) })
			}
			return nil
		})
		t.Run("text"+suffix, func(t *testing.T) { verifyText(t, version, i, suffix) })
	}
}

// oneProperty starts a unit with one setting. What becomes of the job does not
// matter: a property that the manager does not take is refused at once.
func oneProperty(t *testing.T, c *Conn, version int, suffix string, r *row, v *value) {
	s := &Spec{
		Name:       fmt.Sprintf("berthtest-%d-%s%s", os.Getpid(), strings.ToLower(r.prop), suffix),
		Properties: []Property{{r.prop, v.bus}}, CollectMode: "inactive-or-failed",
	}
	if suffix == ".service" && r.key != "ExecStart" {
		s.Service.ExecStart = []Command{{Argv: []string{"/bin/true"}}}
	}
	if suffix == ".socket" && r.key != "Listen*" {
		s.Socket.Listen = []Listen{{"Stream", "/run/berthtest/" + r.prop}}
	}
	if suffix == ".socket" {
		s.Aux = []Spec{{Name: strings.TrimSuffix(s.Name, suffix) + ".service", Service: Service{ExecStart: []Command{{Argv: []string{"/bin/true"}}}}}}
	}
	if r.prop == "CollectMode" {
		s.CollectMode = ""
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	j, err := c.StartTransient(ctx, s)
	if version < r.since {
		if !errors.Is(err, ErrNotSupported) {
			t.Errorf("systemd %d: got %v, want ErrNotSupported: it is in the table as of %d", version, err, r.since)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	j.Wait(ctx)
	if j, err := c.Stop(ctx, s.Name); err == nil {
		j.Wait(ctx)
	}
	c.ResetFailed(ctx, s.Name)
}

func verifyText(t *testing.T, version, i int, suffix string) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	s := sample(t, fmt.Sprintf("berthtest%d%s", i, suffix))
	s.Exec.StandardInputFile, s.Exec.StandardOutputFile, s.Exec.StandardErrorFile = nil, nil, nil
	s.Service.Type, s.Service.ExecStart = "oneshot", append(s.Service.ExecStart, s.Service.ExecStart...)
	for i := range table {
		if r := &table[i]; r.since > version {
			clearField(s, r)
		}
	}
	text, err := s.DropIn(version)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, s.Name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if suffix == ".socket" {
		service := filepath.Join(dir, strings.TrimSuffix(s.Name, suffix)+".service")
		if err := os.WriteFile(service, []byte("[Service]\nExecStart=/bin/true\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, path+":") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("%v:\n%s", err, text)
	}
}

// clearField unsets the field that a row reads.
func clearField(s *Spec, r *row) {
	var walk func(v reflect.Value) bool
	walk = func(v reflect.Value) bool {
		for i := range v.NumField() {
			f := v.Field(i)
			if f.Kind() == reflect.Struct {
				if walk(f) {
					return true
				}
				continue
			}
			old := reflect.New(f.Type()).Elem()
			old.Set(f)
			f.SetZero()
			if v, _ := r.kind.get(s); v == nil {
				return true
			}
			f.Set(old)
		}
		return false
	}
	walk(reflect.ValueOf(s).Elem())
}

// TestTwoDoors: a unit that is started from its description and one that is
// loaded from the same description's text are the same unit.
func TestTwoDoors(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c, err := Dial(t.Context())
	if errors.Is(err, ErrNoSystemd) {
		t.Skip("needs systemd as PID 1 (/run/systemd/private does not answer)")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	version, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := sample(t, fmt.Sprintf("berthtest-%d.service", os.Getpid()))
	s.Dependencies = Dependencies{}
	s.Exec.StandardInputFile, s.Exec.StandardOutputFile, s.Exec.StandardErrorFile = nil, nil, nil
	s.Exec.LogNamespace = ""
	s.Exec.Environment = append(s.Exec.Environment, "C=line\nnext", `D=\ "' $X`)
	s.Service.Type, s.CollectMode = "oneshot", ""
	s.Service.RestartForceExitStatus = nil // refused with oneshot
	s.Service.Watchdog = 0                 // shown as it is in force, by the transient unit only
	for i := range table {
		if r := &table[i]; r.since > version {
			clearField(s, r)
		}
	}
	transient := s.Name
	j, err := c.StartTransient(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if j, err := c.Stop(context.Background(), transient); err == nil {
			j.Wait(context.Background())
		}
	})
	s.Name = fmt.Sprintf("berthtest-%d-file.service", os.Getpid())
	text, err := s.DropIn(version)
	if err != nil {
		t.Fatal(err)
	}
	path := "/run/systemd/system/" + s.Name
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	properties := func(name string) map[string]any {
		all := make(map[string]any)
		for _, iface := range []string{unitIface, serviceIface} {
			body, err := c.do(t.Context(), method{unitPath(name), propertyIface, "GetAll"}, iface)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := first[map[string]dbus.Variant](body)
			for k, v := range m {
				all[k] = v.Value()
			}
		}
		return all
	}
	a, b := properties(transient), properties(s.Name)
	compared := 0
	for i := range table {
		r := &table[i]
		if v, err := r.kind.get(s); err != nil || v == nil || r.in&(inUnit|inService) == 0 {
			continue
		}
		if _, ok := a[r.prop]; !ok {
			t.Errorf("%s: the manager does not show it", r.prop)
			continue
		}
		compared++
		x, y := a[r.prop], b[r.prop]
		if strings.HasPrefix(r.prop, "Exec") {
			x, y = commandLines(x), commandLines(y)
		}
		if d := cmp.Diff(x, y); d != "" {
			t.Errorf("%s (-transient +file):\n%s", r.prop, d)
		}
	}
	if compared < 60 {
		t.Errorf("compared %d settings only", compared)
	}
}

// commandLines leaves out when and how the commands ran.
func commandLines(v any) (lines [][]any) {
	commands, _ := v.([][]any)
	for _, c := range commands {
		lines = append(lines, c[:3])
	}
	return lines
}

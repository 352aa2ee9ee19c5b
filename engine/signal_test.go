package engine

import (
	"strconv"
	"syscall"
	"testing"
)

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]syscall.Signal{
		"9": 9, "KILL": 9, "SIGKILL": 9, "kill": 9, "sigkill": 9, "SigTerm": 15, "HUP": 1, "WINCH": 28, "1": 1, "64": 64, "34": 34,
		"RTMIN": 34, "SIGRTMIN": 34, "RTMIN+0": 34, "SIGRTMIN+3": 37, "rtmin+30": 64, "RTMAX": 64, "RTMAX-1": 63, "SIGRTMAX-30": 34,
		"ABRT": 6, "CHLD": 17, "PWR": 30, "SYS": 31,
		// 0: an error
		"": 0, "0": 0, "65": 0, "-1": 0, "-9": 0, "1e1": 0, "SIG": 0, "SIGSIGKILL": 0, "NOPE": 0, " 9": 0, "9 ": 0, "KILL\n": 0,
		"RTMIN-1": 0, "RTMAX+1": 0, "RTMIN+31": 0, "RTMAX-31": 0, "RTMIN+x": 0, "RTMIN+-3": 0, "99999999999999999999": 0,
	} {
		got, err := ParseSignal(s)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for n, want := range map[int]string{15: "SIGTERM", 9: "SIGKILL", 37: "37"} {
		if got := signalName(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, s := range []string{"9", "SIGKILL", "RTMIN+3", "RTMAX-30", "+9", "SIG9", "RTMIN+9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sig, err := ParseSignal(s)
		if err != nil {
			if sig != 0 {
				t.Errorf("%q: got %d beside %v", s, sig, err)
			}
			return
		}
		if sig < 1 || sig > 64 {
			t.Errorf("%q: got %d", s, sig)
		}
		for _, again := range []string{signalName(int(sig)), strconv.Itoa(int(sig))} {
			if got, err := ParseSignal(again); err != nil || got != sig {
				t.Errorf("%q is %d, called %s, which is %d, %v", s, sig, again, got, err)
			}
		}
	})
}

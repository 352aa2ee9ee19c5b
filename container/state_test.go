package container

import "testing"

func TestStateOf(t *testing.T) {
	run, end := new(Started), new(Exit)
	for _, tt := range []struct {
		active, sub string
		started     *Started
		exit        *Exit
		want        State
	}{
		{"", "", nil, nil, Created},
		{"", "", nil, end, Exited},
		{"", "", run, nil, Created}, // what a killed shim left, to be swept
		{"", "", run, end, Exited},
		{"inactive", "dead", nil, nil, Created},
		{"inactive", "dead", nil, end, Exited},
		{"failed", "failed", nil, end, Exited},
		{"failed", "failed", nil, nil, Created},

		{"active", "running", run, nil, Running},
		{"active", "running", run, end, Running},
		{"active", "running", nil, nil, Running},
		{"active", "running", nil, end, Exited}, // systemd has not heard of it yet
		{"reloading", "reload", run, end, Running},
		{"reloading", "reload", nil, end, Exited},
		{"refreshing", "refresh-extensions", run, end, Running},

		{"activating", "start", nil, nil, Created},
		{"activating", "start", nil, end, Exited},
		{"activating", "start", run, nil, Running},
		{"activating", "auto-restart", run, end, Running}, // the shim was killed
		{"activating", "auto-restart", nil, end, Restarting},
		{"activating", "auto-restart-queued", nil, end, Restarting},
		{"activating", "auto-restart", nil, nil, Restarting},

		{"deactivating", "stop-sigterm", run, nil, Stopping},
		{"deactivating", "stop-sigterm", run, end, Stopping},
		{"deactivating", "stop-post", nil, end, Exited},
		{"deactivating", "stop-post", nil, nil, Created},
	} {
		if got := StateOf(UnitState{tt.active, tt.sub}, tt.started, tt.exit); got != tt.want {
			t.Errorf("%s/%s, started %t, ended %t: got %s, want %s", tt.active, tt.sub, tt.started != nil, tt.exit != nil, got, tt.want)
		}
	}
}

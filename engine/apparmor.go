package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/internal/apparmor"
)

// checkAppArmor refuses a profile that was asked for and that no start would
// find.
func checkAppArmor(r *container.Record) error {
	switch name := r.AppArmor; {
	case name == "", name == apparmor.Unconfined:
		return nil
	case !apparmor.Enabled():
		return fmt.Errorf("security-opt apparmor=%s: this kernel has no AppArmor", name)
	case apparmor.Loaded(name), name == apparmor.Default && apparmor.Parser() != "":
		return nil
	default:
		return fmt.Errorf("security-opt apparmor=%s: no such profile is loaded: see apparmor_parser(8)", name)
	}
}

// loadAppArmor loads the default profile if the container is to have it and the
// kernel does not know it, as after each boot. Two that do so at once do the same.
func loadAppArmor(ctx context.Context, h *Host, r *container.Record) error {
	if r.AppArmor != "" && r.AppArmor != apparmor.Default {
		return nil
	}
	if !apparmor.Enabled() || apparmor.Loaded(apparmor.Default) {
		return nil
	}
	parser := apparmor.Parser()
	if parser == "" {
		return nil // the shim knows what follows from that
	}
	file := filepath.Join("/etc/apparmor.d", apparmor.Default) // the administrator's own
	if _, err := os.Stat(file); err != nil {
		file = filepath.Join(h.Config.Libexec, "../../share/berth/apparmor", apparmor.Default)
	}
	// No cache: it would be written for the sake of one start per boot.
	out, err := exec.CommandContext(ctx, parser, "-Kr", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("load AppArmor profile %s: %s: %w: %s", apparmor.Default, parser, err, bytes.ReplaceAll(bytes.TrimSpace(out), []byte("\n"), []byte("; ")))
	}
	if !apparmor.Loaded(apparmor.Default) {
		return fmt.Errorf("load AppArmor profile %s: %s has none of this name", apparmor.Default, file)
	}
	return nil
}

// appArmorOf is the profile that inspect shows: what the run has, or else what the
// next one would.
func appArmorOf(r *container.Record, running bool, observed string) string {
	switch {
	case running || observed != "":
		if observed == "" && apparmor.Enabled() {
			return apparmor.Unconfined
		}
		return observed
	case r.AppArmor != "":
		return r.AppArmor
	case apparmor.Enabled() && (apparmor.Loaded(apparmor.Default) || apparmor.Parser() != ""):
		return apparmor.Default
	}
	return ""
}

func securityOptions() []string {
	if apparmor.Enabled() && (apparmor.Loaded(apparmor.Default) || apparmor.Parser() != "") {
		return []string{"apparmor", "seccomp"}
	}
	return []string{"seccomp"}
}

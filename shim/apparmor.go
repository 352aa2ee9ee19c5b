package shim

import (
	"cmp"
	"fmt"

	"github.com/berthrun/berth/internal/apparmor"
)

// appArmor is the profile that the container's processes get, or "", and whether
// the engine has to load it first. It is looked at before each start, by whatever
// door: a boot forgets what was loaded, and the kernel may be another one.
//
// Without a parser the default cannot be had, and the container runs without. One
// that was asked for is there, or the container does not run.
func (s *shim) appArmor() (profile string, load bool, err error) {
	asked := s.rec.AppArmor
	if asked == apparmor.Unconfined {
		return "", false, nil
	}
	if !apparmor.Enabled() {
		if asked != "" {
			return "", false, fmt.Errorf("AppArmor profile %s: this kernel has no AppArmor", asked)
		}
		return "", false, nil
	}
	name := cmp.Or(asked, apparmor.Default)
	switch {
	case apparmor.Loaded(name):
		return name, false, nil
	case name == apparmor.Default && apparmor.Parser() != "":
		return name, true, nil
	case asked == "":
		return "", false, nil
	}
	return "", false, fmt.Errorf("AppArmor profile %s: not loaded: see apparmor_parser(8)", name)
}

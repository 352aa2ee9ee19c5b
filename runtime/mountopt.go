package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// attrs are attributes of mounts to set and to clear, as mount_setattr takes them.
type attrs struct{ set, clr uint64 }

// mountOptions is what a mount's list of options says.
type mountOptions struct {
	bind, recursive bool
	attr            attrs // of the mount itself
	rattr           attrs // of the mount and all below it: rro, rnosuid …
	sb              []string
	propagation     uint64
	propagationRec  bool
	data            []string // for the file system
	tmpcopyup       bool
	idmap, idmapRec bool
	remount         bool
}

// attrOptions are the options that are attributes of a mount; with an r before
// them they are recursive (runtime-spec 1.1).
var attrOptions = map[string]attrs{
	"ro":            {set: unix.MOUNT_ATTR_RDONLY},
	"rw":            {clr: unix.MOUNT_ATTR_RDONLY},
	"nosuid":        {set: unix.MOUNT_ATTR_NOSUID},
	"suid":          {clr: unix.MOUNT_ATTR_NOSUID},
	"nodev":         {set: unix.MOUNT_ATTR_NODEV},
	"dev":           {clr: unix.MOUNT_ATTR_NODEV},
	"noexec":        {set: unix.MOUNT_ATTR_NOEXEC},
	"exec":          {clr: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime":    {set: unix.MOUNT_ATTR_NODIRATIME},
	"diratime":      {clr: unix.MOUNT_ATTR_NODIRATIME},
	"relatime":      {set: unix.MOUNT_ATTR_RELATIME, clr: unix.MOUNT_ATTR__ATIME},
	"norelatime":    {clr: unix.MOUNT_ATTR__ATIME},
	"noatime":       {set: unix.MOUNT_ATTR_NOATIME, clr: unix.MOUNT_ATTR__ATIME},
	"atime":         {clr: unix.MOUNT_ATTR__ATIME},
	"strictatime":   {set: unix.MOUNT_ATTR_STRICTATIME, clr: unix.MOUNT_ATTR__ATIME},
	"nostrictatime": {clr: unix.MOUNT_ATTR__ATIME},
	"nosymfollow":   {set: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"symfollow":     {clr: unix.MOUNT_ATTR_NOSYMFOLLOW},
}

// propagations are the propagation types; with an r before them recursive.
var propagations = map[string]uint64{
	"private":    unix.MS_PRIVATE,
	"shared":     unix.MS_SHARED,
	"slave":      unix.MS_SLAVE,
	"unbindable": unix.MS_UNBINDABLE,
}

// superOptions are options of the superblock that every file system knows.
var superOptions = map[string]bool{
	"sync": true, "async": true, "dirsync": true, "mand": true, "nomand": true,
	"lazytime": true, "nolazytime": true,
}

// mountFlags are flags of mount(2) that fsconfig has no word for: those file
// systems that know them have them on by themselves.
var mountFlags = []string{"silent", "loud", "acl", "noacl", "iversion", "noiversion"}

// add puts b on top of a.
func (a *attrs) add(b attrs) {
	a.set = a.set&^b.clr | b.set
	a.clr = a.clr&^(b.set&^unix.MOUNT_ATTR__ATIME) | b.clr
}

// parseMountOptions reads the options of one mount. It never fails: what it
// does not know is the file system's.
func parseMountOptions(m *specs.Mount) mountOptions {
	var o mountOptions
	o.bind = m.Type == "bind" || m.Type == "rbind"
	o.recursive = m.Type == "rbind"
	for _, opt := range m.Options {
		if a, ok := attrOptions[opt]; ok {
			o.attr.add(a)
			continue
		}
		if p, ok := propagations[opt]; ok {
			o.propagation, o.propagationRec = p, false
			continue
		}
		if base, ok := strings.CutPrefix(opt, "r"); ok {
			if a, ok := attrOptions[base]; ok {
				o.rattr.add(a)
				continue
			}
			if p, ok := propagations[base]; ok {
				o.propagation, o.propagationRec = p, true
				continue
			}
		}
		switch {
		case opt == "bind":
			o.bind = true
		case opt == "rbind":
			o.bind, o.recursive = true, true
		case opt == "tmpcopyup":
			o.tmpcopyup = true
		case opt == "idmap" || opt == "ridmap":
			o.idmap, o.idmapRec = true, opt == "ridmap"
		case opt == "remount":
			o.remount = true
		case opt == "defaults" || opt == "" || slices.Contains(mountFlags, opt):
		case superOptions[opt]:
			o.sb = append(o.sb, opt)
		default:
			o.data = append(o.data, opt)
		}
	}
	return o
}

// setattr applies attributes and propagation to the mount that fd is open on.
func setattr(fd int, recursive bool, a attrs, propagation uint64) error {
	if a == (attrs{}) && propagation == 0 {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(fd, "", flags, &unix.MountAttr{Attr_set: a.set, Attr_clr: a.clr, Propagation: propagation})
}

// apply gives the mount that fd is open on what its options say.
func (o *mountOptions) apply(fd int) error {
	attr, prop, rec := o.attr, o.propagation, o.propagationRec
	if o.recursive && !rec && prop != 0 && prop != unix.MS_SHARED {
		// The host's mounts below are no peers of the container's either.
		if err := setattr(fd, true, attrs{}, unix.MS_SLAVE); err != nil {
			return fmt.Errorf("set propagation: %w", err)
		}
	}
	if !rec {
		if err := setattr(fd, false, attr, prop); err != nil {
			return fmt.Errorf("set attributes: %w", err)
		}
		attr, prop = attrs{}, 0
	}
	if err := setattr(fd, false, attr, 0); err != nil {
		return fmt.Errorf("set attributes: %w", err)
	}
	if err := setattr(fd, true, o.rattr, prop); err != nil {
		return fmt.Errorf("set attributes recursively: %w", err)
	}
	return nil
}

// inherit gives a bind mount of which nothing is said the propagation that
// goes with the root's: by default, no mount of the container is the host's and
// none of the host's is the container's.
func (o *mountOptions) inherit(root uint64) {
	if !o.bind || o.propagation != 0 || root == unix.MS_SHARED {
		return
	}
	o.propagation, o.propagationRec = unix.MS_PRIVATE, o.recursive
	if root == unix.MS_SLAVE {
		o.propagation = unix.MS_SLAVE
	}
}

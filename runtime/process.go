package runtime

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var rlimits = map[string]uint64{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}

// command is a command resolved in the container: the paths to try to execute,
// in the order of PATH. Which of them the container's user may execute only
// the kernel knows, when it is told to.
type command struct {
	name  string
	paths []string
}

// lookup finds the command of a process in the container.
func (r rootfs) lookup(p *specs.Process) (command, error) {
	c := command{name: p.Args[0]}
	candidates := []string{c.name}
	if !strings.Contains(c.name, "/") {
		candidates = candidates[:0]
		for dir := range strings.SplitSeq(searchPath(p.Env), ":") {
			if dir == "" {
				dir = "."
			}
			candidates = append(candidates, dir+"/"+c.name)
		}
	}
	found := unix.ENOENT
	for _, path := range candidates {
		in := path
		if !strings.HasPrefix(in, "/") {
			in = p.Cwd + "/" + path
		}
		switch err := r.executable(in); err {
		case nil:
			c.paths = append(c.paths, path)
		case unix.EACCES:
			found = unix.EACCES
		case unix.ELOOP:
			// A magic link: never followed on the container's behalf.
			found = unix.EACCES
		}
	}
	switch {
	case len(c.paths) > 0:
		return c, nil
	case found == unix.EACCES:
		return c, &execError{c.name, ErrNotExecutable}
	case strings.Contains(c.name, "/"):
		return c, &execError{c.name, noSuchFile{}}
	}
	return c, &execError{c.name, ErrNotFound}
}

// noSuchFile is the not-found of a command given with a path, worded as
// os/exec does.
type noSuchFile struct{}

func (noSuchFile) Error() string        { return "stat: no such file or directory" }
func (noSuchFile) Is(target error) bool { return target == ErrNotFound }

// executable says whether anybody could execute the file.
func (r rootfs) executable(path string) error {
	fd, err := r.path(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func searchPath(env []string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], "PATH="); ok {
			return v
		}
	}
	return defaultPath
}

// processEnv is the environment of a process: the last of two equal names
// counts, HOME is given where it is missing.
func processEnv(p *specs.Process, home string) []string {
	env := make([]string, 0, len(p.Env)+1)
	last := make(map[string]int, len(p.Env))
	for _, e := range p.Env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := last[name]; ok {
			env[i] = e
			continue
		}
		last[name] = len(env)
		env = append(env, e)
	}
	if i, ok := last["HOME"]; !ok {
		env = append(env, "HOME="+home)
	} else if env[i] == "HOME=" {
		env[i] = "HOME=" + home
	}
	return env
}

// home is the user's home directory by the container's own /etc/passwd.
func (r rootfs) home(uid uint32) string {
	fd, err := r.open("/etc/passwd", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err == nil {
		defer unix.Close(fd)
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			// A container can make its passwd as large as it likes.
			buf := make([]byte, min(st.Size, 1<<20))
			n, _ := unix.Read(fd, buf)
			want := fmt.Sprint(uid)
			for line := range strings.SplitSeq(string(buf[:max(n, 0)]), "\n") {
				f := strings.Split(line, ":")
				if len(f) >= 6 && f[2] == want && f[5] != "" {
					return f[5]
				}
			}
		}
	}
	return "/"
}

// identity is the part of a process that its program sets last, in an order
// that matters: see finish.
type identity struct {
	process *specs.Process
	linux   *specs.Linux
	command command
	env     []string
	filter  []unix.SockFilter
	flags   uint64 // of the seccomp filter
	sock    int    // where failures are reported
	word    uint64 // see listener
	keyring string // name of the session keyring, "" = the caller's is kept
	userns  bool
	nofile  *unix.Rlimit // soft limit that Go raised at start
	// twice says that a clone of the process that prepares does the rest, and
	// dropped that its rights have been dropped before.
	twice, dropped bool
}

// prepare adds what is done before a created container waits for its start.
func (id *identity) prepare(p *program) error {
	if id.keyring != "" {
		// A keyring of its own, so that the caller's keys are not the container's.
		p.add("", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, p.str(id.keyring)).flags = anyError
	}
	nofile := false
	for i := range id.process.Rlimits {
		r := &id.process.Rlimits[i]
		if id.late(r) {
			continue
		}
		lim := p.words(r.Soft, r.Hard)
		p.add("set rlimit "+r.Type, unix.SYS_PRLIMIT64, 0, rlimits[r.Type], lim, 0)
		nofile = nofile || r.Type == "RLIMIT_NOFILE"
	}
	if !nofile && id.nofile != nil {
		p.add("", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, p.words(id.nofile.Cur, id.nofile.Max), 0).flags = anyError
	}
	if err := p.personality(id.linux.Personality); err != nil {
		return err
	}
	return p.memoryPolicy(id.linux.MemoryPolicy)
}

// late says that a limit is set when the second process is there, so that the
// first does not count: the number of processes, as far as it takes no right.
func (id *identity) late(r *specs.POSIXRlimit) bool {
	if !id.twice || r.Type != "RLIMIT_NPROC" {
		return false
	}
	var cur unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_NPROC, &cur) == nil && r.Hard <= cur.Max
}

// drop adds the change to the process's user, groups and capabilities.
func (id *identity) drop(p *program) {
	pr := id.process
	sets := capabilitiesOf(pr)
	for c := uint64(0); c < 64; c++ {
		if sets.bounding&(1<<c) == 0 && c <= sets.last {
			p.add("drop capability from bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
		}
	}
	p.add("", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	u := &pr.User
	groups := make([]byte, 0, 4*len(u.AdditionalGids))
	for _, g := range u.AdditionalGids {
		groups = append(groups, byte(g), byte(g>>8), byte(g>>16), byte(g>>24))
	}
	s := p.add("set groups", unix.SYS_SETGROUPS, uint64(len(u.AdditionalGids)), p.bytes(groups))
	if id.userns && len(u.AdditionalGids) == 0 {
		s.ok(unix.EPERM) // setgroups is denied in this user namespace
	}
	p.add("set gid", unix.SYS_SETRESGID, uint64(u.GID), uint64(u.GID), uint64(u.GID))
	p.add("set uid", unix.SYS_SETRESUID, uint64(u.UID), uint64(u.UID), uint64(u.UID))
	p.add("", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0)
	p.add("set capabilities", unix.SYS_CAPSET, p.words(unix.LINUX_CAPABILITY_VERSION_3), sets.data(p))
	p.add("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	for c := uint64(0); c <= sets.last; c++ {
		if sets.ambient&(1<<c) != 0 {
			p.add("", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c).flags = anyError
		}
	}
}

// finish adds the rest up to execve. The filter of a process that may gain
// privileges needs CAP_SYS_ADMIN, so it comes before the capabilities go; with
// no_new_privs it comes last, so that it need not allow what finish itself does.
func (id *identity) finish(p *program) {
	pr, u := id.process, &id.process.User
	for i := range pr.Rlimits {
		if r := &pr.Rlimits[i]; id.late(r) {
			p.add("set rlimit "+r.Type, unix.SYS_PRLIMIT64, 0, rlimits[r.Type], p.words(r.Soft, r.Hard), 0)
		}
	}
	if !pr.NoNewPrivileges {
		id.seccomp(p)
	}
	if !id.dropped {
		id.drop(p)
	}
	umask := uint64(0o022)
	if u.Umask != nil {
		umask = uint64(*u.Umask)
	}
	p.add("", unix.SYS_UMASK, umask)
	if pr.NoNewPrivileges {
		p.add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	args, env := p.strs(pr.Args), p.strs(id.env)
	p.add("", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, p.words(0), 0, 8)
	if pr.NoNewPrivileges {
		id.seccomp(p)
	}
	for i, path := range id.command.paths {
		s := p.add(fmt.Sprintf("exec: %q", id.command.name), unix.SYS_EXECVE, p.str(path), args, env)
		if i < len(id.command.paths)-1 {
			s.ok(unix.EACCES, unix.ENOENT, unix.ENOTDIR)
		}
	}
}

// seccomp adds the loading of the filter.
func (id *identity) seccomp(p *program) {
	if id.filter == nil {
		return
	}
	b := make([]byte, 0, 8*len(id.filter))
	for _, f := range id.filter {
		b = append(b, byte(f.Code), byte(f.Code>>8), f.Jt, f.Jf, byte(f.K), byte(f.K>>8), byte(f.K>>16), byte(f.K>>24))
	}
	prog := p.words(uint64(len(id.filter)), p.bytes(b))
	if id.word != 0 {
		p.add("report", unix.SYS_SENDTO, uint64(id.sock), p.words(0), 8, unix.MSG_NOSIGNAL, 0, 0)
	}
	p.add("load seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, id.flags, prog)
	if id.word != 0 {
		p.spin(id.word)
	}
}

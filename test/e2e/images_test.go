package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// store is an image store of a test's own: berth --root DIR.
type store struct {
	*host
	dir string
}

func newStore(t *testing.T) *store {
	t.Helper()
	h := product(t)
	return &store{host: h, dir: h.fullDisk("1g")}
}

func (s *store) berth(args ...string) result {
	s.Helper()
	return s.host.berth(append([]string{"--root", s.dir}, args...)...)
}

func (s *store) ok(args ...string) string {
	s.Helper()
	return s.host.ok(append([]string{"--root", s.dir}, args...)...)
}

func (s *store) want(code int, stdout string, args ...string) {
	s.Helper()
	s.host.want(code, stdout, append([]string{"--root", s.dir}, args...)...)
}

func (s *store) refuse(code int, words []string, args ...string) {
	s.Helper()
	s.host.refuse(code, words, append([]string{"--root", s.dir}, args...)...)
}

// empty fails unless no blob and no layer is left.
func (s *store) empty() {
	s.Helper()
	for _, pattern := range []string{"/images/blobs/*/*", "/images/layers/*", "/images/tmp/*"} {
		if left := glob(s.dir + pattern); len(left) > 0 {
			s.Errorf("left in the image store: %s", left)
		}
	}
}

// digestOf is the digest that the registry has for a tag.
func digestOf(t *testing.T, repository, tag string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodHead, "http://localhost:5000/v2/"+repository+"/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json"} {
		req.Header.Add("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

func TestPull(t *testing.T) {
	s := newStore(t)
	digest := digestOf(t, "busybox", "latest")
	for _, test := range []struct {
		name  string
		image string
		flags []string
	}{
		{"tag", busybox + ":latest", nil},
		{"no tag", busybox, nil},
		{"digest", busybox + "@" + digest, nil},
		{"tag and digest", busybox + ":latest@" + digest, nil},
		{"zstd", busybox + ":zstd", nil},
		{"docker's media types", busybox + ":docker", nil},
		{"several platforms", registry + "multi", nil},
		{"credentials", "localhost:5001/busybox", []string{"--creds", "berth:secret"}},
		{"users without names", registry + "unpriv", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := s.ok(append([]string{"pull", "-q"}, append(test.flags, test.image)...)...)
			if len(id) != 64 {
				t.Errorf("pull -q prints %q", id)
			}
			r := s.berth("run", "--rm", "--pull", "never", test.image, "sh", "-c", "echo ran; test ! -e /arch")
			if r.code != 0 || r.stdout != "ran\n" {
				t.Error(r)
			}
			// Again: nothing is fetched, nothing changes.
			if again := s.ok(append([]string{"pull", "-q"}, append(test.flags, test.image)...)...); again != id {
				t.Errorf("the same pull gives %s after %s", again, id)
			}
			s.ok("rmi", "-a")
			s.empty()
		})
	}
	t.Run("other platform", func(t *testing.T) {
		s.ok("pull", "-q", "--platform", "linux/arm64", registry+"multi")
		if r := s.berth("run", "--rm", "--pull", "never", "--platform", "linux/arm64", registry+"multi", "cat", "/arch"); r.stdout != "arm64\n" {
			t.Error(r)
		}
		s.ok("rmi", "-a")
		s.empty()
	})
	t.Run("password file", func(t *testing.T) {
		auth := write(t, filepath.Join(t.TempDir(), "auth.json"), `{"auths":{"localhost:5001":{"auth":"YmVydGg6c2VjcmV0"}}}`)
		s.ok("pull", "-q", "--authfile", auth, "localhost:5001/busybox")
		s.ok("rmi", "-a")
	})
	s.nothingLeft()
}

func TestPullRefused(t *testing.T) {
	s := newStore(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"unknown image", []string{registry + "nobody"}, registry + "nobody"},
		{"unknown tag", []string{busybox + ":nothing"}, "nothing"},
		{"unknown digest", []string{busybox + "@sha256:" + strings.Repeat("0", 64)}, "sha256:000000"},
		{"no credentials", []string{"localhost:5001/busybox"}, "localhost:5001"},
		{"wrong credentials", []string{"--creds", "berth:wrong", "localhost:5001/busybox"}, "localhost:5001"},
		{"registry down", []string{nobody + "/busybox"}, nobody},
		{"no such platform", []string{"--platform", "linux/s390x", registry + "multi"}, "s390x"},
		{"a layer that leads out", []string{registry + "badlayer"}, "escaped"},
		{"bad reference", []string{"UPPER"}, "UPPER"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.refuse(125, []string{test.says}, append([]string{"pull"}, test.args...)...)
			if got := s.ok("images", "-q"); got != "" {
				t.Errorf("images -q: %q", got)
			}
			s.ok("image", "prune", "-f")
			s.empty()
		})
	}
	if _, err := os.Stat(s.dir + "/images/escaped"); err == nil {
		t.Error("a layer has written outside of its directory")
	}
	s.nothingLeft()
}

// A registry that lies: the digest of what it sends is not what was asked for.
func TestPullOfCorruptedBlob(t *testing.T) {
	s := newStore(t)
	target, _ := url.Parse("http://localhost:5000")
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "/blobs/") && r.ContentLength > 10000 {
			r.Body = flipped{r.Body}
		}
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: proxy}
	go srv.Serve(l)
	defer srv.Close()
	s.refuse(125, []string{"sha256:"}, "pull", "-q", l.Addr().String()+"/busybox")
	s.refuse(125, []string{"sha256:"}, "run", "-q", "--rm", l.Addr().String()+"/busybox", "true")
	if got := s.ok("images", "-q"); got != "" {
		t.Errorf("images -q: %q", got)
	}
	s.ok("pull", "-q", busybox) // the store is not hurt
	s.nothingLeft()
}

// flipped changes a byte of whatever is read.
type flipped struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
}

func (f flipped) Read(p []byte) (int, error) {
	n, err := f.body.Read(p)
	if n > 0 {
		p[n/2] ^= 1
	}
	return n, err
}

func (f flipped) Close() error { return f.body.Close() }

// A blob that has rotted in the store is found, and a pull mends it.
func TestCorruptedStore(t *testing.T) {
	s := newStore(t)
	s.ok("pull", "-q", busybox)
	var manifest string
	for _, blob := range glob(s.dir + "/images/blobs/sha256/*") {
		data, err := os.ReadFile(blob)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(`"layers"`)) {
			manifest = blob
		}
	}
	if manifest == "" {
		t.Fatal("no manifest in the store")
	}
	write(t, manifest, `{"schemaVersion":2,`)
	s.refuse(125, []string{filepath.Base(manifest)[:12]}, "run", "--rm", "--pull", "never", busybox, "true")
	s.ok("pull", "-q", busybox)
	s.want(0, "ran\n", "run", "--rm", "--pull", "never", busybox, "echo", "ran")
	s.nothingLeft()
}

func TestRemoveImage(t *testing.T) {
	s := newStore(t)
	id := s.ok("pull", "-q", busybox)
	s.ok("create", "--name", "user", busybox, "true")
	for _, name := range []string{busybox, id, id[:12]} {
		s.refuse(2, []string{"user"}, "rmi", name)
	}
	s.want(0, "", "start", "-a", "user")
	s.refuse(1, []string{"nobody"}, "rmi", registry+"nobody")
	s.ok("tag", busybox, "localhost/other:v1")
	if got := s.ok("images", "-q"); len(strings.Fields(got)) < 1 || !strings.HasPrefix(id, strings.Fields(got)[0]) {
		t.Errorf("images -q: %q, want %s", got, id)
	}
	if got := s.ok("images", "--format", "{{.Repository}}:{{.Tag}}"); !strings.Contains(got, "localhost/other:v1") || !strings.Contains(got, busybox+":latest") {
		t.Errorf("images: %q", got)
	}
	s.want(0, "Untagged: localhost/other:v1\n", "rmi", "localhost/other:v1") // a name of several may go
	s.ok("rm", "user")
	s.ok("rmi", id[:12])
	s.empty()
	s.nothingLeft()
}

func TestSaveAndLoad(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	id := s.ok("pull", "-q", busybox)
	s.ok("pull", "-q", registry+"layered")
	for _, format := range []string{"docker-archive", "oci-archive"} {
		t.Run(format, func(t *testing.T) {
			s.TB = t
			archive := filepath.Join(dir, format+".tar")
			s.ok("save", "--format", format, "-o", archive, busybox, registry+"layered")
			other := newStore(t)
			if got := other.ok("load", "-q", "-i", archive); !strings.Contains(got, busybox+":latest") || !strings.Contains(got, registry+"layered:latest") {
				t.Errorf("load prints %q", got)
			}
			if got := other.ok("inspect", "--type", "image", "--format", "{{.Id}}", busybox); strings.TrimPrefix(got, "sha256:") != id {
				t.Errorf("%s has ID %s after save and load, had %s", busybox, got, id)
			}
			// As a pipe, compressed.
			third := newStore(t)
			r := third.sh(fmt.Sprintf("berth --root %s save --format %s %s | gzip -1 | berth --root %s load", s.dir, format, busybox, third.dir))
			if r.code != 0 || !strings.Contains(r.stdout, busybox+":latest") {
				t.Error(r)
			}
			for _, where := range []*store{other, third} {
				where.want(0, "ran\n", "run", "--rm", "--pull", "never", busybox, "echo", "ran")
			}
			const tree = "cd /l && find . ! -type d -print0 | sort -z | xargs -0 ls -ln | awk '{print $1,$3,$4,$5,$9,$10,$11}'"
			want := s.ok("run", "--rm", registry+"layered", "sh", "-c", tree)
			if got := other.ok("run", "--rm", "--pull", "never", registry+"layered", "sh", "-c", tree); got != want {
				t.Errorf("after save and load:\n%s\nbefore:\n%s", got, want)
			}
		})
	}
	s.TB = t
	for _, archive := range glob("/usr/share/berth-test/archives/*.tar") {
		third := newStore(t)
		name := third.ok("load", "-q", "-i", archive)
		name = strings.TrimPrefix(name, "Loaded image: ")
		third.want(0, "ran\n", "run", "--rm", "--pull", "never", name, "echo", "ran")
	}
	s.refuse(125, []string{"/no/such/file"}, "load", "-i", "/no/such/file")
	s.refuse(125, []string{"passwd"}, "load", "-i", "/etc/passwd")
	cut := filepath.Join(dir, "cut.tar")
	s.sh("head -c 100000 " + dir + "/docker-archive.tar > " + cut)
	s.refuse(125, []string{"cut.tar"}, "load", "-i", cut)
	s.refuse(125, []string{"nobody"}, "save", "-o", filepath.Join(dir, "x.tar"), registry+"nobody")
	if _, err := os.Stat(filepath.Join(dir, "x.tar")); err == nil {
		t.Error("save of an unknown image has left a file")
	}
}

// The peers take what save writes.
func TestPeersLoad(t *testing.T) {
	s := newStore(t)
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("needs podman and docker, which are not installed in this lane")
	}
	s.ok("pull", "-q", busybox)
	dir := t.TempDir()
	for _, format := range []string{"docker-archive", "oci-archive"} {
		archive := filepath.Join(dir, format)
		s.ok("save", "--format", format, "-o", archive, busybox)
		if r := s.sh("podman load -i " + archive + " && podman run --rm --network none " + busybox + " echo ran && podman rmi -f " + busybox); r.code != 0 || !strings.Contains(r.stdout, "ran\n") {
			t.Errorf("podman: %v", r)
		}
	}
	defer s.systemctl("stop", "docker.service", "docker.socket", "containerd.service")
	if r := s.systemctl("start", "docker"); r.code != 0 {
		t.Fatal(r)
	}
	// Of OCI archives Docker reads its own kind only, unless containerd has its images.
	if r := s.sh("docker load -i " + filepath.Join(dir, "docker-archive") + " && docker image inspect " + busybox + " && docker rmi -f " + busybox); r.code != 0 {
		t.Errorf("docker: %v", r)
	}
}

// Two clients pull one image; one that is killed in the middle leaves a store that the next completes.
func TestPullsAtOnceAndKilled(t *testing.T) {
	s := newStore(t)
	var clients []*command
	for range 4 {
		clients = append(clients, s.start(nil, "berth", "--root", s.dir, "pull", "-q", registry+"layered"))
	}
	ids := map[string]bool{}
	for _, c := range clients {
		r := c.end()
		if r.code != 0 {
			s.Error(r)
		}
		ids[r.stdout] = true
	}
	if len(ids) != 1 {
		s.Errorf("IDs %v", ids)
	}
	for i := range 10 {
		s.ok("rmi", "-a")
		c := s.start(nil, "berth", "--root", s.dir, "pull", "-q", registry+"debian")
		// Not by time: by what is there already.
		s.eventually("beginning of a pull", func() error {
			n := len(glob(s.dir+"/images/tmp/*")) + len(glob(s.dir+"/images/layers/*")) + len(glob(s.dir+"/images/blobs/*/*"))
			select {
			case <-c.ended:
			default:
				if n <= i {
					return fmt.Errorf("%d files", n)
				}
			}
			return nil
		})
		_ = c.Process.Kill()
		<-c.ended
		s.want(0, "ran\n", "run", "--rm", registry+"debian", "sh", "-c", "test -x /bin/bash && test -s /etc/debian_version && echo ran")
	}
	s.ok("rmi", "-a")
	s.ok("image", "prune", "-f")
	s.empty()
	s.nothingLeft()
}

func TestImageInspect(t *testing.T) {
	s := newStore(t)
	s.ok("pull", "-q", registry+"config")
	var list []struct {
		ID       string `json:"Id"`
		RepoTags []string
		Config   struct {
			User, WorkingDir, StopSignal string
			Env, Cmd, Entrypoint         []string
			Labels                       map[string]string
			Volumes                      map[string]any
		}
	}
	if err := json.Unmarshal([]byte(s.ok("image", "inspect", registry+"config")), &list); err != nil || len(list) != 1 {
		t.Fatalf("image inspect: %v, %d", err, len(list))
	}
	got := list[0]
	if got.Config.User != "app" || got.Config.WorkingDir != "/work/deep" || got.Config.StopSignal != "SIGUSR1" || got.Config.Labels["berth.test"] != "yes" {
		t.Errorf("%+v", got)
	}
	// What the image says is what runs.
	want := "user=1000:1000 groups=1000 2000 pwd=/work/deep home=/home/app greeting=hello world\narg=one\narg=two words\n"
	s.want(0, want, "run", "--rm", registry+"config")
	s.want(0, strings.Replace(want, "arg=one\narg=two words", "arg=mine", 1), "run", "--rm", registry+"config", "mine")
	s.refuse(125, []string{"command"}, "run", "-q", "--rm", registry+"noentry")
	s.want(0, "ran\n", "run", "--rm", registry+"noentry", "/bin/echo", "ran")
	s.nothingLeft()
}

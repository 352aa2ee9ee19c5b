package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// recipe is one image: the layers from a tree and from lists of entries, and its config.
type recipe struct {
	tree   string // a tree of test/rootfs; "" for none
	layers [][]entry
	config v1.Config
	arch   string // amd64 when empty
	zstd   bool
	docker bool // Docker's media types instead of OCI's
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// trees are what must be in the cache before images can be made.
var trees = []string{"img-busybox", "img-debian", "img-nginx", "img-redis"}

// recipes names every image that is not an index.
func (c cache) recipes() (map[string]recipe, error) {
	bb, err := c.busybox()
	if err != nil {
		return nil, err
	}
	passwd, group, err := c.users()
	if err != nil {
		return nil, err
	}
	base := []entry{dir("tmp", 0o1777), dir("run", 0o755), dir("var/log", 0o755), file("etc/passwd", passwd), file("etc/group", group)}
	sh := v1.Config{Env: []string{path}, Cmd: []string{"sh"}}
	arm := append([]entry{file("arch", "arm64\n")}, bb...)

	big := [][]entry{bb}
	for i := range byte(6) {
		big = append(big, bulk(fmt.Sprintf("bulk/%d", i), i, 50<<20))
	}
	return map[string]recipe{
		"busybox:latest":  {layers: [][]entry{bb}, config: sh},
		"busybox:zstd":    {layers: [][]entry{bb}, config: sh, zstd: true},
		"busybox:docker":  {layers: [][]entry{bb}, config: sh, docker: true},
		"busybox:arm64":   {layers: [][]entry{arm}, config: sh, arch: "arm64"},
		"debian:latest":   {tree: "img-debian", layers: [][]entry{base}, config: v1.Config{Env: []string{path}, Cmd: []string{"bash"}}},
		"nginx:latest":    {tree: "img-nginx", layers: [][]entry{base, nginx}, config: nginxConfig},
		"redis:latest":    {tree: "img-redis", layers: [][]entry{base, redis(passwd, group)}, config: redisConfig},
		"big:latest":      {layers: big, config: sh},
		"config:latest":   {layers: [][]entry{bb, configFiles}, config: configConfig},
		"layered:latest":  {layers: append([][]entry{bb}, layered...), config: sh},
		"noentry:latest":  {layers: [][]entry{bb}, config: v1.Config{}},
		"volumes:latest":  {layers: [][]entry{bb, volumeFiles}, config: v1.Config{Cmd: []string{"sh"}, Volumes: map[string]struct{}{"/data": {}, "/new": {}}}},
		"unpriv:latest":   {layers: [][]entry{bb}, config: v1.Config{User: "1234:5678", Cmd: []string{"id"}}},
		"badlayer:latest": {layers: [][]entry{bb, {{name: "../../escaped", mode: 0o644, data: []byte("outside\n")}}}, config: sh},
	}, nil
}

// indexes names the images that are one of several platforms, in the order of the index.
var indexes = map[string][]string{
	"multi:latest": {"busybox:arm64", "busybox:latest"},
}

var nginxConfig = v1.Config{
	Env:          []string{path},
	Entrypoint:   []string{"/entrypoint.sh"},
	Cmd:          []string{"nginx", "-g", "daemon off;"},
	ExposedPorts: map[string]struct{}{"80/tcp": {}},
	StopSignal:   "SIGQUIT",
	Labels:       map[string]string{"maintainer": "berth tests"},
}

var nginx = []entry{
	script("entrypoint.sh", "#!/bin/sh\nset -e\nexec \"$@\"\n"),
	dir("var/log/nginx", 0o755),
	symlink("var/log/nginx/access.log", "/dev/stdout"),
	symlink("var/log/nginx/error.log", "/dev/stderr"),
	dir("var/lib/nginx", 0o755),
	dir("usr/share/nginx/html", 0o755),
	file("usr/share/nginx/html/index.html", "<h1>Welcome to nginx!</h1>\n"),
	file("etc/nginx/conf.d/default.conf", "server {\n    listen 80 default_server;\n    root /usr/share/nginx/html;\n    index index.html;\n}\n"),
}

var redisConfig = v1.Config{
	Env:          []string{path},
	Entrypoint:   []string{"/entrypoint.sh"},
	Cmd:          []string{"redis-server", "--dir", "/data", "--protected-mode", "no"},
	ExposedPorts: map[string]struct{}{"6379/tcp": {}},
	Volumes:      map[string]struct{}{"/data": {}},
	WorkingDir:   "/data",
	User:         "redis",
}

func redis(passwd, group string) []entry {
	data := dir("data", 0o755)
	data.uid, data.gid = 999, 999
	return []entry{
		script("entrypoint.sh", "#!/bin/sh\nset -e\nexec \"$@\"\n"),
		data,
		file("etc/passwd", passwd+"redis:x:999:999:redis:/data:/usr/sbin/nologin\n"),
		file("etc/group", group+"redis:x:999:\n"),
	}
}

// config has everything that an image can say about how it is run.
var configConfig = v1.Config{
	User:         "app",
	WorkingDir:   "/work/deep",
	Env:          []string{path, "GREETING=hello world", "EMPTY=", "COMMA=a,b=c"},
	Entrypoint:   []string{"/show"},
	Cmd:          []string{"one", "two words"},
	Volumes:      map[string]struct{}{"/data": {}},
	ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}},
	StopSignal:   "SIGUSR1",
	Labels:       map[string]string{"berth.test": "yes", "org.opencontainers.image.title": "config"},
	Healthcheck: &v1.HealthConfig{
		Test: []string{"CMD-SHELL", "test -e /tmp/healthy"}, Interval: 2 * time.Second, Timeout: time.Second, Retries: 2,
	},
}

var configFiles = []entry{
	script("show", "#!/bin/sh\necho \"user=$(id -u):$(id -g) groups=$(id -G) pwd=$(pwd) home=$HOME greeting=$GREETING\"\nfor a; do echo \"arg=$a\"; done\n"),
	file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"),
	file("etc/group", "root:x:0:\napp:x:1000:\nextra:x:2000:app\n"),
	{name: "home/app/", mode: 0o755, uid: 1000, gid: 1000},
	{name: "data/", mode: 0o750, uid: 1000, gid: 1000},
	{name: "data/seed", mode: 0o640, uid: 1000, gid: 1000, data: []byte("from the image\n")},
}

var volumeFiles = []entry{
	{name: "data/", mode: 0o750, uid: 42, gid: 43},
	{name: "data/seed", mode: 0o600, uid: 42, gid: 43, data: []byte("from the image\n")},
	symlink("data/link", "seed"),
}

// layered has layers that take away, replace and hide what lies below, and every kind of file.
var layered = [][]entry{
	{
		dir("l", 0o755), file("l/removed", "1\n"), file("l/replaced", "1\n"), file("l/kept", "1\n"),
		dir("l/opaque", 0o755), file("l/opaque/hidden", "1\n"), dir("l/gone", 0o755), file("l/gone/deep", "1\n"),
		dir("l/becomes-file", 0o755), file("l/becomes-file/x", "1\n"), file("l/becomes-dir", "1\n"),
	},
	{
		file("l/.wh.removed", ""), file("l/replaced", "2\n"), file("l/.wh.gone", ""),
		dir("l/opaque", 0o700), file("l/opaque/.wh..wh..opq", ""), file("l/opaque/new", "2\n"),
		file("l/.wh.becomes-file", ""), file("l/becomes-file", "2\n"), dir("l/becomes-dir", 0o755), file("l/becomes-dir/x", "2\n"),
	},
	{
		file("l/hard-a", "same\n"), {name: "l/hard-b", mode: 0o644, hard: "l/hard-a"},
		symlink("l/absolute", "/l/kept"), symlink("l/dangling", "nowhere"),
		{name: "l/setuid", mode: 0o4755, data: []byte("#!/bin/sh\n")}, {name: "l/owned", mode: 0o640, uid: 1000, gid: 2000, data: []byte("x\n")},
		{name: "l/xattr", mode: 0o644, data: []byte("x\n"), xattrs: map[string]string{"user.berth": "yes"}},
		// cap_net_bind_service=ep, version 2
		{name: "l/filecap", mode: 0o755, data: []byte("x\n"), xattrs: map[string]string{
			"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		file("l/name with space", "x\n"), file("l/umläut", "x\n"),
	},
}

// busybox is the static binary with a link for each of its applets.
func (c cache) busybox() ([]entry, error) {
	bin := c.path("rootfs", "img-busybox", "usr/bin/busybox")
	data, err := os.ReadFile(bin)
	if err != nil {
		return nil, fmt.Errorf("%w (run test/rootfs %s)", err, strings.Join(trees, " "))
	}
	applets, err := exec.Command(bin, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list applets: %w", err)
	}
	entries := []entry{
		dir("bin", 0o755), {name: "bin/busybox", mode: 0o755, data: data},
		dir("dev", 0o755), dir("etc", 0o755), dir("home", 0o755), dir("proc", 0o755), dir("root", 0o700), dir("sys", 0o755),
		dir("tmp", 0o1777), dir("usr", 0o755), dir("usr/bin", 0o755), dir("var", 0o755), dir("var/tmp", 0o1777),
		file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
		file("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
		symlink("usr/bin/env", "/bin/busybox"),
	}
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			entries = append(entries, symlink("bin/"+name, "busybox"))
		}
	}
	return entries, nil
}

// users is what setting up the package base-passwd would have written.
func (c cache) users() (passwd, group string, err error) {
	base := c.path("rootfs", "img-debian", "usr/share/base-passwd")
	p, err := os.ReadFile(filepath.Join(base, "passwd.master"))
	if err != nil {
		return "", "", err
	}
	g, err := os.ReadFile(filepath.Join(base, "group.master"))
	return string(bytes.ReplaceAll(p, []byte(":*:"), []byte(":x:"))), string(g), err
}

// image puts a recipe together.
func (c cache) image(r recipe) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if r.docker {
		img = mutate.MediaType(empty.Image, types.DockerManifestSchema2)
		img = mutate.ConfigMediaType(img, types.DockerConfigJSON)
	}
	var tars [][]byte
	if r.tree != "" {
		t, err := tarTree(c.path("rootfs", r.tree)+"/.", leftOut)
		if err != nil {
			return nil, err
		}
		tars = append(tars, t)
	}
	for _, entries := range r.layers {
		t, err := tarEntries(entries)
		if err != nil {
			return nil, err
		}
		tars = append(tars, t)
	}
	var adds []mutate.Addendum
	for i, t := range tars {
		l, err := layer(t, r.zstd, r.docker)
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{
			Created: v1.Time{Time: epoch}, CreatedBy: fmt.Sprintf("test/images layer %d", i),
		}})
	}
	img, err := mutate.Append(img, adds...)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.Config, cf.Created, cf.OS, cf.Architecture = r.config, v1.Time{Time: epoch}, "linux", "amd64"
	if r.arch != "" {
		cf.Architecture = r.arch
	}
	return mutate.ConfigFile(img, cf)
}

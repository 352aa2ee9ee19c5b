package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// noise is content that does not compress, so that blobs have a known size.
func noise(n int, seed uint64) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

func noAuthFiles(t testing.TB) { t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "none")) }

// checkImage verifies that an image is complete, unpacked and verified.
func checkImage(t testing.TB, s *Store, name string, want *testImage) *Image {
	t.Helper()
	img, err := s.Resolve(name)
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != digest.FromBytes(want.config) {
		t.Fatalf("%s: ID %s, want %s", name, img.ID, digest.FromBytes(want.config))
	}
	if len(img.Layers) != len(want.layers) || !img.Ready() {
		t.Fatalf("%s: %d layers, ready %v", name, len(img.Layers), img.Ready())
	}
	for i, l := range img.Layers {
		data, err := os.ReadFile(s.blobPath(l.Digest))
		if err != nil || !bytes.Equal(data, want.layers[i].blob) {
			t.Fatalf("%s: blob %d: %d bytes, %v", name, i, len(data), err)
		}
	}
	return img
}

func checkClean(t testing.TB, s *Store) {
	t.Helper()
	if leftovers(t, s) > 0 {
		t.Error("tmp/ is not empty")
	}
}

func TestPullKinds(t *testing.T) {
	noAuthFiles(t)
	data := tarOf(t, "a/", "a/b="+noise(1000, 1))
	for name, layers := range map[string][]testLayer{
		"gzip":     {gzipLayer(data)},
		"zstd":     {zstdLayer(data)},
		"plain":    {plainLayer(data)},
		"lying":    {{tar: data, blob: zstdLayer(data).blob, mediaType: ispec.MediaTypeImageLayerGzip}},
		"mixed":    {gzipLayer(data), zstdLayer(tarOf(t, "x=1")), plainLayer(tarOf(t, "y=1"))},
		"repeated": {gzipLayer(data), gzipLayer(tarOf(t, "x=1")), gzipLayer(data)},
		"none":     {},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newFakeRegistry(t), openTest(t)
			img := newTestImage(t, layers...)
			ref := f.add(img, "repo", "1")
			if _, err := s.Pull(t.Context(), ref, nil); err != nil {
				t.Fatal(err)
			}
			got := checkImage(t, s, ref, img)
			if len(layers) > 0 {
				if b, err := os.ReadFile(filepath.Join(got.Layers[0].Dir, "a/b")); err != nil || string(b) != noise(1000, 1) {
					t.Errorf("a/b: %d bytes, %v", len(b), err)
				}
			}
			if name == "repeated" && len(got.LowerDirs()) != 2 {
				t.Errorf("lower dirs %q", got.LowerDirs())
			}
			checkClean(t, s)
		})
	}
}

// TestPullDocker: schema 2 types throughout, and an image list.
func TestPullIndex(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	amd := newTestImage(t, layerOf(t, "amd=1"))
	arm := newTestImageFor(t, ispec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, layerOf(t, "arm=1"))
	f.add(amd, "repo", "amd")
	f.add(arm, "repo", "arm")
	data := mustJSON(t, ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: dockerManifestList, Manifests: []ispec.Descriptor{amd.desc, arm.desc}})
	f.addManifest(dockerManifestList, data, "multi")
	ref := f.host() + "/repo:multi"
	if _, err := s.Pull(t.Context(), ref, &PullOptions{Platform: "linux/amd64"}); err != nil {
		t.Fatal(err)
	}
	img := checkImage(t, s, ref, amd)
	byDigest := f.host() + "/repo@" + digest.FromBytes(data).String()
	checkImage(t, s, byDigest, amd)
	if len(img.RepoDigests) != 2 || len(img.Names) != 1 {
		t.Errorf("names %q, digests %q", img.Names, img.RepoDigests)
	}
	if _, err := s.Pull(t.Context(), ref, &PullOptions{Platform: "linux/arm/v7"}); err != nil {
		t.Fatal(err)
	}
	checkImage(t, s, ref, arm)
	if imgs, err := s.List(); err != nil || len(imgs) != 2 {
		t.Errorf("list: %d images, %v", len(imgs), err)
	}
	_, err := s.Pull(t.Context(), ref, &PullOptions{Platform: "linux/s390x"})
	if !errors.Is(err, ErrNoPlatform) || !strings.Contains(err.Error(), "linux/amd64, linux/arm/v6") {
		t.Errorf("no platform: %v", err)
	}
	if _, err := s.Pull(t.Context(), byDigest, &PullOptions{Platform: "amd64"}); err != nil {
		t.Error(err)
	}
	_, err = s.Pull(t.Context(), f.host()+"/repo:amd", &PullOptions{Platform: "linux/riscv64"})
	if !errors.Is(err, ErrNoPlatform) {
		t.Errorf("single image of another platform: %v", err)
	}
}

func TestPullShares(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	base := layerOf(t, "base=1")
	a, b := newTestImage(t, base, layerOf(t, "a=1")), newTestImage(t, base, layerOf(t, "b=1"))
	refA, refB := f.add(a, "repo", "a"), f.add(b, "repo", "b")
	for _, ref := range []string{refA, refB, refA} {
		if _, err := s.Pull(t.Context(), ref, nil); err != nil {
			t.Fatal(err)
		}
	}
	for what, n := range f.requests {
		if strings.HasPrefix(what, "blobs/") && n != 1 {
			t.Errorf("%s fetched %d times", what, n)
		}
	}
	imgA, imgB := checkImage(t, s, refA, a), checkImage(t, s, refB, b)
	if imgA.Layers[0].Dir != imgB.Layers[0].Dir {
		t.Error("a shared layer is unpacked twice")
	}
}

// TestPullTrouble: every way a transfer goes wrong, once or for good.
func TestPullTrouble(t *testing.T) {
	noAuthFiles(t)
	big := layerOf(t, "big="+noise(1<<20, 3))
	half := len(big.blob) / 2
	tests := []struct {
		name    string
		blob    func(w http.ResponseWriter, r *http.Request, data []byte, n int) bool
		noRange bool
		want    error // nil: the pull succeeds
		ranges  bool  // and has continued where it was
	}{
		{"breaks off once", func(w http.ResponseWriter, _ *http.Request, data []byte, n int) bool {
			if n == 1 {
				sendPart(w, data, half)
			}
			return false
		}, false, nil, true},
		{"breaks off, no ranges", func(w http.ResponseWriter, _ *http.Request, data []byte, n int) bool {
			if n == 1 {
				sendPart(w, data, half)
			}
			return false
		}, true, nil, true},
		{"breaks off every 100 kB", func(w http.ResponseWriter, r *http.Request, data []byte, _ int) bool {
			var off int
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(data)-1, len(data)))
			if off > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write(data[off:min(off+100_000, len(data))])
			return true
		}, false, nil, true},
		{"500 twice", func(w http.ResponseWriter, _ *http.Request, _ []byte, n int) bool {
			if n <= 2 {
				w.WriteHeader(500)
			}
			return n <= 2
		}, false, nil, false},
		{"429 once", func(w http.ResponseWriter, _ *http.Request, _ []byte, n int) bool {
			if n == 1 {
				refuse(w, 429, "TOOMANYREQUESTS")
			}
			return n == 1
		}, false, nil, false},
		{"corrupt once", func(w http.ResponseWriter, _ *http.Request, data []byte, n int) bool {
			if n == 1 {
				bad := bytes.Clone(data)
				bad[half] ^= 1
				w.Write(bad)
			}
			return n == 1
		}, false, nil, false},
		{"another blob once", func(w http.ResponseWriter, _ *http.Request, data []byte, n int) bool {
			if n == 1 {
				w.Write(bytes.Repeat([]byte("x"), len(data)))
			}
			return n == 1
		}, false, nil, false},
		{"always corrupt", func(w http.ResponseWriter, _ *http.Request, data []byte, _ int) bool {
			bad := bytes.Clone(data)
			bad[len(bad)-1] ^= 1
			w.Write(bad)
			return true
		}, false, ErrCorrupt, false},
		{"wrong range", func(w http.ResponseWriter, r *http.Request, data []byte, n int) bool {
			if n == 1 {
				sendPart(w, data, half)
			}
			if n == 2 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 7-%d/%d", len(data)-1, len(data)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(data[7:])
			}
			return n == 2
		}, false, nil, true},
		{"more than promised", func(w http.ResponseWriter, _ *http.Request, data []byte, _ int) bool {
			w.Write(data)
			w.Write([]byte("and more"))
			return true
		}, false, nil, false},
		{"gone", func(w http.ResponseWriter, _ *http.Request, _ []byte, _ int) bool {
			notFound(w, "BLOB_UNKNOWN")
			return true
		}, false, errAny, false},
		{"denied", func(w http.ResponseWriter, _ *http.Request, _ []byte, _ int) bool {
			refuse(w, 403, "DENIED")
			return true
		}, false, ErrUnauthorized, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, s := newFakeRegistry(t), openTest(t)
			img := newTestImage(t, big, layerOf(t, "small=1"))
			ref := f.add(img, "repo", "1")
			f.noRange = tt.noRange
			f.onBlob(func(w http.ResponseWriter, r *http.Request, data []byte, n int) bool {
				return len(data) > 100_000 && tt.blob(w, r, data, n)
			})
			_, err := s.Pull(t.Context(), ref, nil)
			if tt.ranges != (len(f.ranges) > 0) {
				t.Errorf("ranges asked for: %q", f.ranges)
			}
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				checkImage(t, s, ref, img)
				checkClean(t, s)
				return
			}
			if err == nil || tt.want != errAny && !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "pull "+ref+": ") {
				t.Errorf("error text %q", err)
			}
			if _, err := s.Resolve(ref); !errors.Is(err, ErrNotExist) {
				t.Errorf("the image is there all the same: %v", err)
			}
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkClean(t, s)
			checkEmpty(t, s)
		})
	}
}

var errAny = errors.New("any error")

func checkEmpty(t testing.TB, s *Store) {
	t.Helper()
	for _, dir := range []string{"blobs/sha256", "layers"} {
		entries, err := os.ReadDir(s.path(dir))
		if err != nil || len(entries) > 0 {
			t.Errorf("%s: %v, %v", dir, entries, err)
		}
	}
}

// TestPullBadImages: what is wrong with the image itself.
func TestPullBadImages(t *testing.T) {
	noAuthFiles(t)
	good := layerOf(t, "a=1")
	evil := gzipLayer(tarOf(t, "../escape=1"))
	wrongDiff := good
	wrongDiff.tar = []byte("another tar")
	notTar := gzipLayer(bytes.Repeat([]byte("no tar"), 1000))
	notGzip := testLayer{tar: good.tar, blob: append([]byte{0x1f, 0x8b}, bytes.Repeat([]byte("x"), 100)...), mediaType: ispec.MediaTypeImageLayerGzip}
	cutGzip := good
	cutGzip.blob = good.blob[:len(good.blob)-10]
	edit := func(img *testImage, old, new string) *testImage {
		img.manifest = bytes.ReplaceAll(img.manifest, []byte(old), []byte(new))
		return img
	}
	for name, img := range map[string]*testImage{
		"path escape":       newTestImage(t, evil),
		"wrong DiffID":      newTestImage(t, wrongDiff),
		"not a tar":         newTestImage(t, notTar),
		"not gzip":          newTestImage(t, notGzip),
		"cut gzip":          newTestImage(t, cutGzip),
		"xz":                newTestImage(t, testLayer{tar: good.tar, blob: []byte("\xfd7zXZ\x00...."), mediaType: "application/x-xz"}),
		"not an image":      edit(newTestImage(t, good), ispec.MediaTypeImageConfig, "application/vnd.cncf.helm.config.v1+json"),
		"unknown type":      edit(newTestImage(t, good), ispec.MediaTypeImageManifest, "application/vnd.example+json"),
		"sha512":            edit(newTestImage(t, good), good.digest().String(), "sha512:"+good.digest().Encoded()),
		"path in a digest":  edit(newTestImage(t, good), good.digest().Encoded(), "../../../../../../../../etc/passwd"),
		"no json":           edit(newTestImage(t, good), "{", "<"),
		"layer count":       edit(newTestImage(t, good), `"layers":[`, `"layers":[{"digest":"`+good.digest().String()+`","size":1},`),
		"index as well":     edit(newTestImage(t, good), `"layers":[`, `"manifests":[],"layers":[`),
		"wrong size":        edit(newTestImage(t, good), fmt.Sprintf(`"size":%d`, len(good.blob)), `"size":7`),
		"negative size":     edit(newTestImage(t, good), fmt.Sprintf(`"size":%d`, len(good.blob)), `"size":-7`),
		"schema 1":          edit(newTestImage(t, good), `"schemaVersion":2`, `"schemaVersion":1`),
		"enormous manifest": edit(newTestImage(t, good), `"layers":[`, strings.Repeat(" ", maxManifestSize)+`"layers":[`),
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newFakeRegistry(t), openTest(t)
			ref := f.add(img, "repo", "1")
			_, err := s.Pull(t.Context(), ref, nil)
			if err == nil {
				t.Fatal("pulled")
			}
			t.Log(err)
			if _, err := s.Resolve(ref); !errors.Is(err, ErrNotExist) {
				t.Errorf("resolve: %v", err)
			}
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkClean(t, s)
			checkEmpty(t, s)
		})
	}
}

// TestPullContinues: a part that an earlier pull left is not fetched again,
// and a wrong one does no harm.
func TestPullContinues(t *testing.T) {
	noAuthFiles(t)
	big := layerOf(t, "big="+noise(1<<20, 4))
	for name, tt := range map[string]struct {
		part []byte
		want string
	}{
		"half":      {big.blob[:len(big.blob)/2], fmt.Sprintf("bytes=%d-", len(big.blob)/2)},
		"all of it": {big.blob, ""},
		"wrong":     {bytes.Repeat([]byte("x"), 1000), "bytes=1000-"},
		"too much":  {append(bytes.Clone(big.blob), "xxx"...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newFakeRegistry(t), openTest(t)
			img := newTestImage(t, big)
			ref := f.add(img, "repo", "1")
			if err := os.WriteFile(s.partPath(big.digest()), tt.part, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Pull(t.Context(), ref, nil); err != nil {
				t.Fatal(err)
			}
			checkImage(t, s, ref, img)
			checkClean(t, s)
			if got := strings.Join(f.ranges, " "); got != tt.want {
				t.Errorf("ranges %q, want %q", got, tt.want)
			}
			if name == "all of it" && f.count("blobs/"+big.digest().String()) > 0 {
				t.Error("fetched again what was there")
			}
		})
	}
}

func TestPullAuth(t *testing.T) {
	f := newFakeRegistry(t)
	img := newTestImage(t, layerOf(t, "a=1"))
	ref := f.add(img, "repo", "1")
	file := filepath.Join(t.TempDir(), "auth.json")
	os.WriteFile(file, fmt.Appendf(nil, `{"auths":{%q:{"auth":"dTpw"}}}`, f.host()), 0o600)
	wrong := filepath.Join(t.TempDir(), "auth.json")
	os.WriteFile(wrong, fmt.Appendf(nil, `{"auths":{%q:{"auth":"dTp4"}}}`, f.host()), 0o600)
	perRepo := filepath.Join(t.TempDir(), "auth.json")
	os.WriteFile(perRepo, fmt.Appendf(nil, `{"auths":{%q:{"auth":"dTp4"},%q:{"auth":"dTpw"}}}`, f.host(), f.host()+"/repo"), 0o600)
	for name, tt := range map[string]struct {
		gate func(http.ResponseWriter, *http.Request) bool
		file string
		opts PullOptions
		ok   bool
	}{
		"basic":                 {gate: requireBasic, file: file, ok: true},
		"basic, option":         {gate: requireBasic, opts: PullOptions{Credentials: &Credentials{"u", "p"}}, ok: true},
		"basic, file option":    {gate: requireBasic, opts: PullOptions{AuthFile: file}, ok: true},
		"basic, per repository": {gate: requireBasic, file: perRepo, ok: true},
		"basic, wrong":          {gate: requireBasic, file: wrong},
		"basic, anonymous":      {gate: requireBasic},
		"bearer":                {gate: requireBearer(f.URL, true), file: file, ok: true},
		"bearer, anonymous":     {gate: requireBearer(f.URL, false), ok: true},
		"bearer, wrong":         {gate: requireBearer(f.URL, true), file: wrong},
		"bearer, none":          {gate: requireBearer(f.URL, true)},
		"no such file":          {opts: PullOptions{AuthFile: "/nowhere/auth.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("REGISTRY_AUTH_FILE", tt.file)
			if tt.file == "" {
				noAuthFiles(t)
			}
			f.gate = tt.gate
			s := openTest(t)
			_, err := s.Pull(t.Context(), ref, &tt.opts)
			if tt.ok != (err == nil) {
				t.Fatalf("error %v", err)
			}
			if !tt.ok && tt.gate != nil && !errors.Is(err, ErrUnauthorized) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestRedirect: blobs may come from elsewhere, which never sees a password.
func TestRedirect(t *testing.T) {
	noAuthFiles(t)
	f := newFakeRegistry(t)
	img := newTestImage(t, layerOf(t, "a="+noise(1000, 5)))
	ref := f.add(img, "repo", "1")
	leaked := false
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = leaked || r.Header.Get("Authorization") != ""
		w.Write(f.blobs[filepath.Base(r.URL.Path)])
	}))
	defer cdn.Close()
	f.gate = requireBasic
	f.onBlob(func(w http.ResponseWriter, r *http.Request, _ []byte, _ int) bool {
		http.Redirect(w, r, cdn.URL+"/"+filepath.Base(r.URL.Path), http.StatusTemporaryRedirect)
		return true
	})
	s := openTest(t)
	if _, err := s.Pull(t.Context(), ref, &PullOptions{Credentials: &Credentials{"u", "p"}}); err != nil {
		t.Fatal(err)
	}
	if leaked {
		t.Error("the redirect's target saw the password")
	}
}

// TestPullErrors: what a user reads.
func TestPullErrors(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	tlsServer := httptest.NewTLSServer(f)
	defer tlsServer.Close()
	tlsHost := strings.TrimPrefix(tlsServer.URL, "https://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	for name, tt := range map[string]struct {
		ref  string
		kind error
		text string
	}{
		"unknown": {f.host() + "/foo:1", ErrUnknown, "pull " + f.host() + "/foo:1: registry has no such image"},
		"refused": {dead + "/foo:1", ErrUnreachable, "pull " + dead + "/foo:1: registry " + dead + " refused the connection: is it running?"},
		"bad":     {"Foo", ErrBadReference, `invalid reference "Foo": names are lower case`},
		"no CA":   {tlsHost + "/foo:1", ErrUnreachable, "add its CA to the system's, or name it as an insecure registry"},
		"no name": {"registry.invalid/foo:1", ErrUnreachable, "host name registry.invalid: no such host"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Pull(t.Context(), tt.ref, nil)
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want %q (%v)", err, tt.text, tt.kind)
			}
		})
	}
	img := newTestImage(t, layerOf(t, "a=1"))
	f.add(img, "repo", "1")
	if _, err := s.Pull(t.Context(), tlsHost+"/repo:1", &PullOptions{Insecure: []string{tlsHost}}); err != nil {
		t.Errorf("insecure registry over TLS: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Pull(ctx, f.host()+"/repo:1", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPlainGuard(t *testing.T) {
	f := newFakeRegistry(t)
	g := &plainGuard{inner: http.DefaultTransport, host: f.host()}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/v2/", nil)
	if _, err := g.RoundTrip(req); !errors.Is(err, errPlain) {
		t.Errorf("plain HTTP went through: %v", err)
	}
	err := explain("pull", Reference{Domain: "r.example:5000", Path: "x", Tag: "1"}, errPlain)
	if !errors.Is(err, ErrPlainHTTP) || !strings.Contains(err.Error(), "insecure registry") {
		t.Errorf("explained as %q", err)
	}
	for host, want := range map[string]bool{"localhost": true, "localhost:5000": true, "127.1.2.3:80": true, "[::1]:5000": true, "10.0.0.1": false, "localhost.example": false, "example": false} {
		if isLoopback(host) != want {
			t.Errorf("isLoopback(%q) = %v", host, !want)
		}
	}
}

// TestSelfHeal: a layer directory that has gone is unpacked again; a damaged
// blob is noticed, and the next pull replaces it.
func TestSelfHeal(t *testing.T) {
	noAuthFiles(t)
	f, s := newFakeRegistry(t), openTest(t)
	img := newTestImage(t, layerOf(t, "a=1"), layerOf(t, "b/c=1"))
	ref := f.add(img, "repo", "1")
	if _, err := s.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	wipe := func() *Image {
		os.RemoveAll(s.path("layers"))
		os.Mkdir(s.path("layers"), 0o700)
		got, err := s.Resolve(ref)
		if err != nil || got.Ready() {
			t.Fatalf("%v, ready %v", err, got.Ready())
		}
		return got
	}
	got := wipe()
	if err := s.Unpack(t.Context(), got); err != nil || !got.Ready() {
		t.Fatal(err)
	}
	checkImage(t, s, ref, img)
	got = wipe()
	os.WriteFile(s.blobPath(img.layers[0].digest()), flip(img.layers[0].blob), 0o644)
	if err := s.Unpack(t.Context(), got); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("damaged blob: %v", err)
	}
	if _, err := s.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	checkImage(t, s, ref, img)
	for name, blob := range map[string][]byte{"manifest": img.manifest, "configuration": img.config} {
		for damage, data := range map[string][]byte{"cut": blob[:len(blob)/2], "flipped": flip(blob), "grown": append(bytes.Clone(blob), ' ')} {
			if err := os.WriteFile(s.blobPath(digest.FromBytes(blob)), data, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Resolve(ref); err == nil {
				t.Errorf("%s %s: nobody noticed", name, damage)
			}
			if _, err := s.Pull(t.Context(), ref, nil); err != nil {
				t.Errorf("%s %s: pull: %v", name, damage, err)
			}
			checkImage(t, s, ref, img)
		}
	}
	checkClean(t, s)
}

func flip(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

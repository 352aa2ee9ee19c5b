package image

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// fakeRegistry is a registry that misbehaves as it is told.
type fakeRegistry struct {
	*httptest.Server
	mu        sync.Mutex // guards what follows
	blobs     map[string][]byte
	manifests map[string]fakeManifest
	requests  map[string]int // by "blobs/sha256:…" or "manifests/…"
	ranges    []string       // Range headers of blob requests

	// blob, if set, answers a request for a blob itself and returns true. n
	// counts the requests for this blob from 1.
	blob func(w http.ResponseWriter, r *http.Request, data []byte, n int) bool
	// gate, if set, may refuse any request.
	gate    func(w http.ResponseWriter, r *http.Request) bool
	noRange bool
}

type fakeManifest struct {
	mediaType string
	data      []byte
}

func newFakeRegistry(t testing.TB) *fakeRegistry {
	f := &fakeRegistry{blobs: map[string][]byte{}, manifests: map[string]fakeManifest{}, requests: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeRegistry) host() string { return strings.TrimPrefix(f.URL, "http://") }

// add serves an image under repo:tag, and by digest; it returns its reference.
func (f *fakeRegistry) add(img *testImage, repo, tag string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[digest.FromBytes(img.config).String()] = img.config
	for _, l := range img.layers {
		f.blobs[l.digest().String()] = l.blob
	}
	f.setManifest(img.desc.MediaType, img.manifest, tag)
	return f.host() + "/" + repo + ":" + tag
}

func (f *fakeRegistry) addManifest(mediaType string, data []byte, tag string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setManifest(mediaType, data, tag)
}

func (f *fakeRegistry) setManifest(mediaType string, data []byte, tag string) {
	m := fakeManifest{mediaType, data}
	f.manifests[tag] = m
	f.manifests[digest.FromBytes(data).String()] = m
}

// onBlob has fn answer requests for blobs.
func (f *fakeRegistry) onBlob(fn func(w http.ResponseWriter, r *http.Request, data []byte, n int) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blob = fn
}

func (f *fakeRegistry) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[what]
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gate != nil && f.gate(w, r) {
		return
	}
	if r.URL.Path == "/v2/" {
		return
	}
	if i := strings.LastIndex(r.URL.Path, "/manifests/"); i >= 0 {
		name := r.URL.Path[i+len("/manifests/"):]
		f.requests["manifests/"+name]++
		m, ok := f.manifests[name]
		if !ok {
			notFound(w, "MANIFEST_UNKNOWN")
			return
		}
		w.Header().Set("Content-Type", m.mediaType)
		w.Write(m.data)
		return
	}
	i := strings.LastIndex(r.URL.Path, "/blobs/")
	if i < 0 {
		notFound(w, "NAME_UNKNOWN")
		return
	}
	f.serveBlob(w, r, r.URL.Path[i+len("/blobs/"):])
}

func (f *fakeRegistry) serveBlob(w http.ResponseWriter, r *http.Request, name string) {
	f.requests["blobs/"+name]++
	data, ok := f.blobs[name]
	if !ok {
		notFound(w, "BLOB_UNKNOWN")
		return
	}
	if rng := r.Header.Get("Range"); rng != "" {
		f.ranges = append(f.ranges, rng)
	}
	if f.blob != nil {
		n := f.requests["blobs/"+name]
		if f.blobUnlocked(w, r, data, n) {
			return
		}
	}
	sendRange(w, r, data, !f.noRange)
}

func (f *fakeRegistry) blobUnlocked(w http.ResponseWriter, r *http.Request, data []byte, n int) bool {
	answer := f.blob
	f.mu.Unlock()
	defer f.mu.Lock()
	return answer(w, r, data, n)
}

func sendRange(w http.ResponseWriter, r *http.Request, data []byte, ranges bool) {
	off := 0
	if rng, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
		off, _ = strconv.Atoi(strings.TrimSuffix(rng, "-"))
		if off >= len(data) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-off))
	if off > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	w.Write(data[off:])
}

// sendPart promises everything and breaks off after n bytes.
func sendPart(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data[:n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func notFound(w http.ResponseWriter, code string) { refuse(w, http.StatusNotFound, code) }

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"x"}]}`, code)
}

// requireBasic wants user and password "u" and "p".
func requireBasic(w http.ResponseWriter, r *http.Request) bool {
	if u, p, _ := r.BasicAuth(); u == "u" && p == "p" {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
	return true
}

// requireBearer wants a token, which /token gives: to anyone, or, with login,
// to u:p only.
func requireBearer(url string, login bool) func(http.ResponseWriter, *http.Request) bool {
	token := base64.RawStdEncoding.EncodeToString([]byte("token for " + url))
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if u, p, _ := r.BasicAuth(); login && (u != "u" || p != "p") {
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
				return true
			}
			fmt.Fprintf(w, `{"token":%q}`, token)
			return true
		}
		if r.Header.Get("Authorization") == "Bearer "+token {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="fake",scope="repository:x:pull"`, url))
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return true
	}
}

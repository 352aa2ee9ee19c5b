//go:build !lean

package image

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Whole says whether the package was built with everything in it: without the
// tag lean.
const Whole = true

// registry is a repository in a registry, with the login done.
type registry struct {
	host   string
	base   string // URL of the repository
	client *http.Client
}

// connect finds out how the registry wants to be talked to.
func connect(ctx context.Context, ref Reference, opts *PullOptions) (*registry, error) {
	host := ref.Domain
	if host == defaultDomain {
		host = name.DefaultRegistry
	}
	insecure := slices.Contains(opts.Insecure, ref.Domain)
	var nameOpts []name.Option
	if insecure {
		nameOpts = append(nameOpts, name.Insecure)
	}
	reg, err := name.NewRegistry(host, nameOpts...)
	if err != nil {
		return nil, fmt.Errorf("%w: registry %q", ErrBadReference, host)
	}
	auth, err := authenticator(ref, opts)
	if err != nil {
		return nil, err
	}
	base := newTransport(insecure, opts.parallel())
	rt := &plainGuard{inner: base, host: reg.RegistryStr(), allow: insecure || isLoopback(host)}
	authed, err := transport.NewWithContext(ctx, reg, auth, transport.NewUserAgent(rt, "berth"), []string{"repository:" + ref.Path + ":pull"})
	if err != nil {
		base.CloseIdleConnections()
		return nil, err
	}
	return &registry{
		host:   ref.Domain,
		base:   "https://" + reg.RegistryStr() + "/v2/" + ref.Path + "/",
		client: &http.Client{Transport: authed},
	}, nil
}

// newTransport makes the HTTP side. HTTP/1.1 gives every layer a connection,
// and flow-control window, of its own. Compression is the layers' own matter.
func newTransport(insecure bool, parallel int) *http.Transport {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   parallel,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // asked for, registry by registry
	}
	return t
}

// plainGuard lets nothing go to the registry in the clear unless that is
// allowed. The login code below us falls back to plain HTTP for private
// addresses too, where anyone on the way could make it do so.
type plainGuard struct {
	inner http.RoundTripper
	host  string
	allow bool
}

var errPlain = errors.New("plain HTTP is not allowed")

func (g *plainGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !g.allow && req.URL.Host == g.host {
		return nil, errPlain
	}
	return g.inner.RoundTrip(req)
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

func (r *registry) close() { r.client.CloseIdleConnections() }

var manifestAccept = strings.Join([]string{
	ispec.MediaTypeImageIndex, ispec.MediaTypeImageManifest, dockerManifestList, dockerManifest,
}, ", ")

// manifest fetches a manifest or index by tag or digest. By digest it is
// verified; by tag its digest is what it hashes to.
func (r *registry) manifest(ctx context.Context, ref string) ([]byte, ispec.Descriptor, error) {
	var desc ispec.Descriptor
	resp, err := r.get(ctx, "manifests/"+ref, http.Header{"Accept": {manifestAccept}})
	if err != nil {
		return nil, desc, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, desc, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxManifestSize+1))
	if err != nil {
		return nil, desc, err
	}
	if len(data) > maxManifestSize {
		return nil, desc, fmt.Errorf("manifest %s: larger than %d bytes: %w", ref, maxManifestSize, ErrUnsupported)
	}
	if resp.ContentLength >= 0 && int64(len(data)) != resp.ContentLength {
		return nil, desc, io.ErrUnexpectedEOF
	}
	desc = ispec.Descriptor{Digest: digest.SHA256.FromBytes(data), Size: int64(len(data))}
	if strings.HasPrefix(ref, "sha256:") && desc.Digest.String() != ref {
		return nil, desc, fmt.Errorf("manifest %s: %w", ref, ErrCorrupt)
	}
	desc.MediaType, err = manifestType(data, resp.Header.Get("Content-Type"))
	return data, desc, err
}

// blob opens a blob from an offset on. Where the registry starts at the
// beginning nevertheless, the bytes before are read and dropped.
func (r *registry) blob(ctx context.Context, d digest.Digest, off int64) (io.ReadCloser, error) {
	h := http.Header{}
	if off > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	resp, err := r.get(ctx, "blobs/"+d.String(), h)
	if err != nil {
		return nil, err
	}
	err = transport.CheckError(resp, http.StatusOK, http.StatusPartialContent)
	if err == nil && resp.StatusCode == http.StatusPartialContent {
		err = checkRange(resp.Header.Get("Content-Range"), off)
	} else if err == nil && off > 0 {
		_, err = io.CopyN(io.Discard, resp.Body, off)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

func (r *registry) get(ctx context.Context, path string, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header = h
	return r.client.Do(req)
}

func checkRange(header string, off int64) error {
	rest, ok := strings.CutPrefix(header, "bytes ")
	start, _, _ := strings.Cut(rest, "-")
	if n, err := strconv.ParseInt(start, 10, 64); !ok || err != nil || n != off {
		return fmt.Errorf("registry sent range %q where %d- was asked for", header, off)
	}
	return nil
}

// retryable reports whether asking again may help.
func retryable(err error) bool {
	var te *transport.Error
	if errors.As(err, &te) {
		switch te.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
			http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, errPlain),
		errors.As(err, &cert), errors.As(err, &dns) && dns.IsNotFound,
		errors.Is(err, ErrUnsupported), errors.Is(err, ErrBadReference), isNoSpace(err), isPlainHTTP(err),
		isLocal(err):
		return false
	}
	return true
}

// isLocal knows failures that have nothing to do with the transfer: files of
// ours, and documents that came whole and make no sense.
func isLocal(err error) bool {
	var path *fs.PathError
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	return errors.As(err, &path) || errors.As(err, &syntax) || errors.As(err, &typ)
}

func isPlainHTTP(err error) bool {
	return errors.Is(err, errPlain) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// explain turns a failure on the way to a registry into one line that says
// what to do.
func explain(op string, ref Reference, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s %s: %w", op, ref.Familiar(), context.Canceled)
	}
	e := &RegistryError{Op: op, Ref: ref.Familiar(), Err: err}
	host := "registry " + ref.Domain
	var te *transport.Error
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	var ue *url.Error
	switch {
	// Certificates first: on loopback, plain HTTP has been tried after that.
	case errors.As(err, &cert):
		e.Kind, e.Text = ErrUnreachable, fmt.Sprintf("%s: %v: add its CA to the system's, or name it as an insecure registry", host, rootCause(cert))
	case errors.As(err, &te):
		e.Text, e.Kind = explainStatus(ref, te)
	case isPlainHTTP(err):
		e.Kind, e.Text = ErrPlainHTTP, host+" speaks plain HTTP: name it as an insecure registry if that is what you want"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind, e.Text = ErrUnreachable, host+" refused the connection: is it running?"
	case errors.As(err, &dns):
		e.Kind, e.Text = ErrUnreachable, fmt.Sprintf("host name %s: %s: check the name and the network", dns.Name, dns.Err)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), isTimeout(err):
		e.Kind, e.Text = ErrUnreachable, fmt.Sprintf("%s does not answer: %v", host, rootCause(err))
	case errors.As(err, &ue):
		e.Kind, e.Text = ErrUnreachable, fmt.Sprintf("%s: %v", host, ue.Err)
	default:
		return fmt.Errorf("%s %s: %w", op, ref.Familiar(), err)
	}
	return e
}

func explainStatus(ref Reference, te *transport.Error) (text string, kind error) {
	host := "registry " + ref.Domain
	for _, d := range te.Errors {
		switch d.Code {
		case transport.ManifestUnknownErrorCode, transport.NameUnknownErrorCode:
			return "registry has no such image", ErrUnknown
		case transport.UnauthorizedErrorCode, transport.DeniedErrorCode:
			return host + " denies access", ErrUnauthorized
		}
	}
	if te.StatusCode == http.StatusNotFound && te.Request != nil && strings.Contains(te.Request.URL.Path, "/blobs/") {
		return host + " lacks a part of the image: it has to be pushed again", nil
	}
	switch te.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return host + " denies access", ErrUnauthorized
	case http.StatusNotFound:
		return "registry has no such image", ErrUnknown
	case http.StatusTooManyRequests:
		return host + " limits the number of requests: wait, or name a user", nil
	}
	return fmt.Sprintf("%s answers %d %s", host, te.StatusCode, http.StatusText(te.StatusCode)), nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PullOptions say how to pull. The zero value pulls for this machine, with the
// credentials docker and podman have stored.
type PullOptions struct {
	Platform    string       // os/arch[/variant]
	Insecure    []string     // registries (host[:port]) allowed plain HTTP and unverified certificates
	Credentials *Credentials // instead of stored ones
	AuthFile    string       // instead of the usual files
	Parallel    int          // layers at a time; 0 is a sensible number
	Progress    func(Event)  // called by one goroutine at a time; must not block for long
}

// Credentials for a registry, where the caller has them from the user.
type Credentials struct {
	Username, Password string
}

func (o *PullOptions) parallel() int {
	if o.Parallel > 0 {
		return o.Parallel
	}
	return min(max(4, runtime.NumCPU()), 8)
}

// retries bounds the attempts in a row that bring nothing.
const retries = 5

// Pull fetches an image and gives it the name it was pulled by. What the store
// has is not fetched again. The error is one line; see the package's Err
// values for what to expect.
func (s *Store) Pull(ctx context.Context, name string, opts *PullOptions) (*Image, error) {
	if opts == nil {
		opts = &PullOptions{}
	}
	ref, err := ParseReference(name)
	if err != nil {
		return nil, err
	}
	want, err := ParsePlatform(opts.Platform)
	if err != nil {
		return nil, err
	}
	s.tidy(ctx)
	p := &pull{s: s, ref: ref, opts: opts, platform: want, rep: reporter{fn: opts.Progress}}
	img, err := p.run(ctx)
	if err != nil {
		return nil, explain("pull", ref, err)
	}
	return img, nil
}

// pull is one pull under way.
type pull struct {
	s        *Store
	ref      Reference
	opts     *PullOptions
	platform ispec.Platform
	rep      reporter
	reg      *registry
	lease    *lease
	names    []string // to give to the image
}

func (p *pull) run(ctx context.Context) (*Image, error) {
	err := p.try(ctx, func() (err error) {
		p.reg, err = connect(ctx, p.ref, p.opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer p.reg.close()
	if p.lease, err = p.s.newLease(); err != nil {
		return nil, p.s.diskError(err)
	}
	defer p.lease.release()
	data, desc, err := p.resolve(ctx)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	if err := p.lease.add(desc.Digest, m.Config.Digest); err != nil {
		return nil, p.s.diskError(err)
	}
	raw, err := p.config(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	in := &install{s: p.s, lease: p.lease, rep: &p.rep, parallel: p.opts.parallel(), names: p.names, manifest: data, desc: desc, config: raw}
	if p.opts.Platform != "" && desc.Platform == nil {
		in.want = &p.platform
	}
	return in.run(ctx, func(ctx context.Context, l *Layer) source { return &download{ctx: ctx, p: p, layer: l} })
}

// resolve fetches the manifest for the platform, through an index if there is
// one, and collects the names of the image.
func (p *pull) resolve(ctx context.Context) ([]byte, ispec.Descriptor, error) {
	want := p.ref.Tag
	if p.ref.Digest != "" {
		want = p.ref.Digest.String()
	} else {
		p.names = append(p.names, p.ref.String())
	}
	data, desc, err := p.manifest(ctx, want)
	if err != nil {
		return nil, desc, err
	}
	p.names = append(p.names, p.ref.Name()+"@"+desc.Digest.String())
	if !isIndexType(desc.MediaType) {
		return data, desc, nil
	}
	var idx ispec.Index
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, desc, fmt.Errorf("index: %w", err)
	}
	chosen, err := choosePlatform(idx.Manifests, p.platform)
	if err != nil {
		return nil, desc, err
	}
	if !isDigest(chosen.Digest.String()) {
		return nil, desc, fmt.Errorf("index: digest %q: %w", chosen.Digest, ErrUnsupported)
	}
	data, desc, err = p.manifest(ctx, chosen.Digest.String())
	if err != nil {
		return nil, desc, err
	}
	if isIndexType(desc.MediaType) {
		return nil, desc, fmt.Errorf("index within an index: %w", ErrUnsupported)
	}
	desc.Platform = chosen.Platform
	p.names = append(p.names, p.ref.Name()+"@"+desc.Digest.String())
	return data, desc, nil
}

func (p *pull) manifest(ctx context.Context, ref string) (data []byte, desc ispec.Descriptor, err error) {
	err = p.try(ctx, func() (err error) {
		data, desc, err = p.reg.manifest(ctx, ref)
		return err
	})
	return data, desc, err
}

func (p *pull) config(ctx context.Context, desc ispec.Descriptor) (data []byte, err error) {
	if data, err = p.s.readBlob(desc.Digest, maxConfigSize); err == nil {
		return data, nil
	}
	err = p.try(ctx, func() error {
		body, err := p.reg.blob(ctx, desc.Digest, 0)
		if err != nil {
			return err
		}
		defer body.Close()
		data, err = io.ReadAll(io.LimitReader(body, maxConfigSize+1))
		if err != nil {
			return err
		}
		if len(data) > maxConfigSize {
			return fmt.Errorf("configuration larger than %d bytes: %w", maxConfigSize, ErrUnsupported)
		}
		if digest.SHA256.FromBytes(data) != desc.Digest {
			return fmt.Errorf("configuration %s: %w", desc.Digest, ErrCorrupt)
		}
		return nil
	})
	return data, err
}

// try repeats what may succeed when tried again.
func (p *pull) try(ctx context.Context, fn func() error) error {
	for n := 1; ; n++ {
		err := fn()
		if err == nil || n >= retries {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !retryable(err) {
			return err
		}
		if err := pause(ctx, n); err != nil {
			return err
		}
	}
}

// pause waits before the nth attempt: 0.1 s, doubled each time, 5 s at most.
func pause(ctx context.Context, n int) error {
	d := min(100*time.Millisecond<<(n-1), 5*time.Second)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

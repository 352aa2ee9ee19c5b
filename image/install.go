package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// install puts an image whose manifest and configuration are at hand, and
// verified, into the store. It is what pull and load have in common.
type install struct {
	s        *Store
	lease    *lease
	rep      *reporter
	parallel int
	names    []string        // to give to the image
	want     *ispec.Platform // what it has to be for, if the caller cares
	manifest []byte
	desc     ispec.Descriptor // of the manifest
	config   []byte
}

func (in *install) run(ctx context.Context, open func(context.Context, *Layer) source) (*Image, error) {
	m, err := parseManifest(in.manifest)
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(in.config, m)
	if err != nil {
		return nil, err
	}
	got := normalPlatform(config.Platform)
	if in.want != nil && platformScore(got, *in.want) == 0 {
		return nil, fmt.Errorf("%w %s: there is %s", ErrNoPlatform, platformString(*in.want), platformString(got))
	}
	if in.desc.Platform == nil {
		in.desc.Platform = &ispec.Platform{OS: got.OS, Architecture: got.Architecture, Variant: got.Variant}
	}
	img := newImage(in.desc, m, config, in.config)
	img.Size += in.desc.Size
	if err := in.lease.add(img.digests()...); err != nil {
		return nil, in.s.diskError(err)
	}
	if err := in.s.placeLayers(ctx, img, in.parallel, in.rep, open); err != nil {
		return nil, err
	}
	if err := in.s.putBlob(img.ID, in.config); err != nil {
		return nil, err
	}
	if err := in.s.putBlob(img.Manifest.Digest, in.manifest); err != nil {
		return nil, err
	}
	return in.s.commit(img, in.names)
}

// digests is what a lease for the image has to name.
func (m *Image) digests() []digest.Digest {
	ds := []digest.Digest{m.ID, m.Manifest.Digest}
	var chain digest.Digest
	for _, l := range m.Layers {
		chain = chainID(chain, l.DiffID)
		ds = append(ds, l.Digest, l.DiffID, chain)
	}
	slices.Sort(ds)
	return slices.Compact(ds)
}

// commit names an image all of whose parts are in place.
func (s *Store) commit(img *Image, names []string) (*Image, error) {
	for _, dir := range []string{"blobs/sha256", "layers"} {
		if err := syncDir(s.path(dir)); err != nil {
			return nil, err
		}
	}
	s.locate(img)
	img.DiskSize = img.measure()
	err := s.updateIndex(func(x *index) error {
		for _, name := range names {
			x.set(newEntry(img.Manifest, img.ID, img.DiskSize, name))
		}
		if len(names) == 0 {
			x.set(newEntry(img.Manifest, img.ID, img.DiskSize, ""))
		}
		s.names(x, img)
		return nil
	})
	if err != nil {
		return nil, s.diskError(err)
	}
	return img, nil
}

// placeLayers brings every layer of an image into place.
func (s *Store) placeLayers(ctx context.Context, img *Image, parallel int, rep *reporter, open func(context.Context, *Layer) source) error {
	st := &stack{s: s, img: img, rep: rep, sync: &groupSync{}, placed: make([]chan struct{}, len(img.Layers))}
	stop := st.flushEarly()
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range st.placed {
		st.placed[i] = make(chan struct{})
	}
	for i := range img.Layers {
		g.Go(func() error {
			l := &img.Layers[i]
			src := open(ctx, l)
			if err := st.place(ctx, i, src); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
			close(st.placed[i])
			return nil
		})
	}
	return g.Wait()
}

// Unpack unpacks the layers of an image that are not, from their blobs. On
// return LowerDirs is complete.
func (s *Store) Unpack(ctx context.Context, img *Image) error {
	if img.Ready() {
		return nil
	}
	l, err := s.newLease()
	if err != nil {
		return fmt.Errorf("unpack image %s: %w", img.ID, s.diskError(err))
	}
	defer l.release()
	if err := l.add(img.digests()...); err != nil {
		return fmt.Errorf("unpack image %s: %w", img.ID, s.diskError(err))
	}
	err = s.placeLayers(ctx, img, 2, &reporter{}, func(context.Context, *Layer) source { return nil })
	if err != nil {
		return fmt.Errorf("unpack image %s: %w", img.ID, err)
	}
	s.locate(img)
	return nil
}

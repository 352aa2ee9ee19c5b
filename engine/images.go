package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/image"
)

// PullOptions are how to get an image. Insecure of the embedded options is
// what the user named; berth.conf's registries are added.
type PullOptions struct {
	image.PullOptions
	Policy string // always, missing (default), newer, never
}

// Pull fetches an image from its registry.
func Pull(ctx context.Context, h *Host, ref string, o *PullOptions) (*image.Image, error) {
	if o == nil {
		o = new(PullOptions)
	}
	if o.Policy == "" {
		o.Policy = "always"
	}
	return find(ctx, h, ref, o)
}

// find returns an image, complete and unpacked, and pulls it where the policy
// says so.
func find(ctx context.Context, h *Host, ref string, o *PullOptions) (*image.Image, error) {
	store, err := h.Images()
	if err != nil {
		return nil, err
	}
	local, err := store.Resolve(ref)
	switch {
	case err == nil:
		if fits, err := isFor(local, o.Platform); err != nil {
			return nil, err
		} else if !fits {
			local = nil
		}
	case errors.Is(err, image.ErrNotExist), o.Policy == "always", o.Policy == "newer": // to pull it mends what is damaged
		local = nil
	default:
		return nil, err
	}
	switch o.Policy {
	case "", "missing":
	case "always", "newer":
		img, err := pull(ctx, h, store, ref, o)
		if err != nil && o.Policy == "newer" && local != nil {
			return ready(ctx, store, local)
		}
		return img, err
	case "never":
		if local == nil {
			return nil, fmt.Errorf("image %s: %w here, and --pull=never forbids to fetch it", ref, image.ErrNotExist)
		}
	default:
		return nil, fmt.Errorf("pull %q: must be always, missing, newer or never", o.Policy)
	}
	if local == nil {
		return pull(ctx, h, store, ref, o)
	}
	return ready(ctx, store, local)
}

func pull(ctx context.Context, h *Host, store *image.Store, ref string, o *PullOptions) (*image.Image, error) {
	opts := o.PullOptions
	opts.Insecure = append(append([]string(nil), opts.Insecure...), h.Config.Insecure...)
	return store.Pull(ctx, ref, &opts)
}

// ready unpacks layers that are not, which a killed pull may leave.
func ready(ctx context.Context, store *image.Store, img *image.Image) (*image.Image, error) {
	if img.Ready() {
		return img, nil
	}
	if err := store.Unpack(ctx, img); err != nil {
		return nil, err
	}
	return img, nil
}

// imageName is what ps shows for a container made of img: the name the user
// gave in its familiar form, or the image's own where an ID was given.
func imageName(img *image.Image, asked string) string {
	ref, err := image.ParseReference(asked)
	if err == nil {
		for _, n := range append(append([]string(nil), img.Names...), img.RepoDigests...) {
			if full, err := image.ParseReference(n); err == nil && full.Name() == ref.Name() {
				return ref.Familiar()
			}
		}
	}
	if len(img.Names) > 0 {
		if full, err := image.ParseReference(img.Names[0]); err == nil {
			return full.Familiar()
		}
	}
	return img.ID.Encoded()[:12]
}

// isFor says whether an image is for a platform; any is for the empty one.
func isFor(img *image.Image, platform string) (bool, error) {
	if platform == "" {
		return true, nil
	}
	want, err := image.ParsePlatform(platform)
	if err != nil {
		return false, err
	}
	have := img.Config.Platform
	return have.OS == want.OS && have.Architecture == want.Architecture && (want.Variant == "" || have.Variant == want.Variant), nil
}

// RemoveImage removes a name of an image, and the image with its last one. An
// image that a container was made from stays, unless forced: then its
// containers go first.
func RemoveImage(ctx context.Context, h *Host, name string, force bool) ([]image.Removed, error) {
	store, err := h.Images()
	if err != nil {
		return nil, err
	}
	if force {
		img, err := store.Resolve(name)
		if err != nil {
			return nil, err
		}
		users, err := h.Containers.ImageUsers(img.ID.String())
		if err != nil {
			return nil, err
		}
		for _, user := range users {
			if _, err := Remove(ctx, h, user, RemoveOptions{Force: true}); err != nil && !errors.Is(err, container.ErrNotExist) {
				return nil, err
			}
		}
	}
	users := func(id digest.Digest) ([]string, error) { return h.Containers.ImageUsers(id.String()) }
	return store.Remove(ctx, name, &image.RemoveOptions{Force: force, InUse: users})
}

// stillThere looks whether the layers of a record were removed between the
// resolving of the image and the writing of the record, from where on they
// are safe.
func stillThere(r *container.Record) error {
	for _, dir := range r.Rootfs.Lower {
		if _, err := os.Lstat(dir); err != nil {
			return fmt.Errorf("image %s: %w: it was removed just now", r.Image.Name, image.ErrNotExist)
		}
	}
	return nil
}

//go:build lean

package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Whole says whether the package was built with everything in it. Built with
// the tag lean it lacks TLS, HTTP and the decompressors, whose packages prepare
// themselves in every process that has them, used or not: a third of what the
// start of a short command costs. What would need them returns ErrLean, and has
// done nothing then.
const Whole = false

type registry struct{}

func connect(context.Context, Reference, *PullOptions) (*registry, error) { return nil, ErrLean }

func (*registry) manifest(context.Context, string) ([]byte, ispec.Descriptor, error) {
	return nil, ispec.Descriptor{}, ErrLean
}
func (*registry) blob(context.Context, digest.Digest, int64) (io.ReadCloser, error) {
	return nil, ErrLean
}
func (*registry) close() {}

func retryable(error) bool                           { return false }
func explain(_ string, _ Reference, err error) error { return err }

func decompressor(io.Reader) (io.Reader, func(), error) { return nil, nil, ErrLean }

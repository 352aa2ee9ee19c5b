package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"
)

// push copies images, all or those named, to a registry without authentication.
func (c cache) push(host string, refs []string) error {
	p, byName, err := c.built()
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		refs = slices.Sorted(maps.Keys(byName))
	}
	for _, ref := range refs {
		d, ok := byName[ref]
		if !ok {
			return fmt.Errorf("no image %s (see images list)", ref)
		}
		tag, err := name.NewTag(host+"/"+ref, name.Insecure)
		if err != nil {
			return err
		}
		if d.MediaType.IsIndex() {
			idx, err := p.ImageIndex()
			if err == nil {
				idx, err = idx.ImageIndex(d.Digest)
			}
			if err == nil {
				err = remote.WriteIndex(tag, idx, remote.WithAuth(authn.Anonymous))
			}
			if err != nil {
				return fmt.Errorf("push %s: %w", tag, err)
			}
			continue
		}
		img, err := p.Image(d.Digest)
		if err == nil {
			err = remote.Write(tag, img, remote.WithAuth(authn.Anonymous))
		}
		if err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
	}
	return nil
}

// serve runs a registry with all images until it is told to stop.
func (c cache) serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	if err := c.push(l.Addr().String(), nil); err != nil {
		return err
	}
	fmt.Printf("serving on %s\n", l.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		err := srv.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stallTimeout ends a connection over which nothing comes.
const stallTimeout = 60 * time.Second

// download is a layer's blob in a registry. Its reader goes on after broken
// connections by itself.
type download struct {
	ctx   context.Context // of the pull: a download does not outlive it
	p     *pull
	layer *Layer
}

func (d *download) open(off int64) (io.ReadCloser, error) {
	r := &resumingReader{d: d, off: off}
	return r, r.connect()
}

// resumingReader reads the blob up to the size the manifest tells.
type resumingReader struct {
	d      *download
	off    int64
	body   io.ReadCloser
	cancel context.CancelFunc
	stall  *time.Timer
	failed int // attempts in a row that brought nothing
}

// connect opens the blob at the offset, trying again where that may help.
func (r *resumingReader) connect() error {
	for {
		ctx, cancel := context.WithCancel(r.d.ctx)
		body, err := r.d.p.reg.blob(ctx, r.d.layer.Digest, r.off)
		if err == nil {
			r.body, r.cancel = body, cancel
			r.stall = time.AfterFunc(stallTimeout, cancel)
			return nil
		}
		cancel()
		if err := r.again(err); err != nil {
			return err
		}
	}
}

// again decides whether to go on after err, and waits.
func (r *resumingReader) again(err error) error {
	ctx := r.d.ctx
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.failed++
	if r.failed >= retries || !retryable(err) {
		return err
	}
	r.d.p.rep.report(Event{Layer: r.d.layer.Digest, State: Retrying, Done: r.off, Total: r.d.layer.Size, Err: err})
	return pause(ctx, r.failed)
}

func (r *resumingReader) Read(p []byte) (int, error) {
	for {
		left := r.d.layer.Size - r.off
		if left <= 0 {
			return 0, io.EOF
		}
		if int64(len(p)) > left {
			p = p[:left]
		}
		n, err := r.body.Read(p)
		if n > 0 {
			r.off += int64(n)
			r.failed = 0
			r.stall.Reset(stallTimeout)
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, context.Canceled) && r.d.ctx.Err() == nil {
			err = fmt.Errorf("nothing came for %v", stallTimeout)
		}
		if err == io.EOF {
			err = fmt.Errorf("%d bytes short: %w", left, io.ErrUnexpectedEOF)
		}
		r.Close()
		if err := r.again(err); err != nil {
			return 0, err
		}
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
}

func (r *resumingReader) Close() error {
	if r.body == nil {
		return nil
	}
	r.stall.Stop()
	err := r.body.Close()
	r.cancel()
	r.body = nil
	return err
}

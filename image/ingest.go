package image

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/berthrun/berth/image/layer"
	"github.com/opencontainers/go-digest"
)

// ingest takes a layer's blob in one pass: read, hash and write it; decompress
// it; hash the tar; unpack the tar. Each step is a goroutine, so that a single
// large layer keeps more than one core busy.
type ingest struct {
	prefix io.Reader // part of the blob that is on disk already, or nil
	src    io.Reader // the rest of it
	dst    io.Writer // where the rest goes, nil to keep nothing
	root   *os.File  // where to unpack, nil not to
	opts   layer.Options
	moved  func(n int) // told of every n bytes of the blob
}

// ingested is what came of it. Digest and size are those of the whole blob and
// valid even if the tar was bad (applyErr): they tell whose fault that is.
type ingested struct {
	digest   digest.Digest
	size     int64
	diffID   digest.Digest
	layer    *layer.Result
	applyErr error
}

const (
	chunkSize  = 256 << 10
	chunkCount = 6
)

// run returns an error only when the blob could not be read or kept, or the
// disk is full.
func (in *ingest) run(ctx context.Context) (*ingested, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res := &ingested{}
	var tarball *pipe
	var wg sync.WaitGroup
	if in.root != nil {
		tarball = newPipe()
		wg.Go(func() {
			if err := in.unpack(ctx, tarball, res); err != nil {
				res.applyErr = err
				if isNoSpace(err) {
					cancel(err)
				}
			}
		})
	}
	err := in.read(ctx, tarball, res)
	if tarball != nil {
		tarball.close(err)
	}
	wg.Wait()
	if err != nil {
		return nil, err
	}
	if isNoSpace(res.applyErr) {
		return nil, res.applyErr
	}
	return res, nil
}

// read passes the blob on to out, hashing and keeping it on the way.
func (in *ingest) read(ctx context.Context, out *pipe, res *ingested) error {
	sum := sha256.New()
	if in.prefix != nil {
		if err := in.copy(ctx, in.prefix, nil, sum, out, res); err != nil {
			return err
		}
	}
	if err := in.copy(ctx, in.src, in.dst, sum, out, res); err != nil {
		return err
	}
	res.digest = digest.NewDigest(digest.SHA256, sum)
	return nil
}

func (in *ingest) copy(ctx context.Context, src io.Reader, dst io.Writer, sum hash.Hash, out *pipe, res *ingested) error {
	if src == nil {
		return nil
	}
	spare := &chunk{buf: make([]byte, chunkSize)}
	if out != nil {
		spare = nil
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c := spare
		if out != nil {
			c = out.get()
		}
		n, err := io.ReadAtLeast(src, c.buf, chunkSize/2)
		c.data = c.buf[:n]
		if n > 0 {
			res.size += int64(n)
			sum.Write(c.data)
			if dst != nil {
				if _, werr := dst.Write(c.data); werr != nil && err == nil {
					err = werr
				}
			}
			if in.moved != nil {
				in.moved(n)
			}
		}
		if out != nil {
			out.put(c)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unpack decompresses blob, and hashes and applies the tar side by side. It
// empties blob in any case.
func (in *ingest) unpack(ctx context.Context, blob *pipe, res *ingested) error {
	defer blob.drain()
	hashed, applied := newPipe(), newPipe()
	applied.free = hashed.free // one set of chunks, read by both
	var wg sync.WaitGroup
	wg.Go(func() {
		sum := sha256.New()
		for c := range hashed.ch {
			sum.Write(c.data)
			c.release(hashed.free)
		}
		res.diffID = digest.NewDigest(digest.SHA256, sum)
	})
	var failed atomic.Bool
	var applyErr error
	wg.Go(func() {
		res.layer, applyErr = layer.Apply(ctx, in.root, applied, &in.opts)
		failed.Store(applyErr != nil)
		applied.drain()
	})
	err := decompress(blob, hashed, applied, &failed)
	hashed.close(err)
	applied.close(err)
	wg.Wait()
	if err != nil {
		return err
	}
	return applyErr
}

// decompress reads blob to its end, or until failed is set.
func decompress(blob *pipe, hashed, applied *pipe, failed *atomic.Bool) error {
	r, closer, err := decompressor(blob)
	if err != nil {
		return err
	}
	defer closer()
	for !failed.Load() {
		c := hashed.get()
		n, err := io.ReadAtLeast(r, c.buf, chunkSize/2)
		c.data = c.buf[:n]
		c.refs.Store(2)
		hashed.ch <- c
		applied.ch <- c
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			// A cut gzip stream is ErrUnexpectedEOF too; only at a clean end
			// does the next read say EOF.
			if _, err := r.Read(make([]byte, 1)); err != io.EOF {
				return fmt.Errorf("decompress: %w", io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
	}
	return nil
}

// chunk is a buffer on its way through a pipe, with the number of readers that
// have yet to be done with it.
type chunk struct {
	buf, data []byte
	refs      atomic.Int32
}

func (c *chunk) release(free chan *chunk) {
	if c.refs.Add(-1) == 0 {
		free <- c
	}
}

// pipe hands chunks from one goroutine to another without copying. Its free
// chunks bound how far the writer can be ahead; a reader that stops early
// drains it.
type pipe struct {
	ch   chan *chunk
	free chan *chunk
	cur  *chunk
	rest []byte
	err  error // set before ch is closed
}

func newPipe() *pipe {
	p := &pipe{ch: make(chan *chunk, chunkCount), free: make(chan *chunk, chunkCount)}
	for range chunkCount {
		p.free <- &chunk{}
	}
	return p
}

func (p *pipe) get() *chunk {
	c := <-p.free
	if c.buf == nil {
		c.buf = make([]byte, chunkSize)
	}
	return c
}

func (p *pipe) put(c *chunk) {
	c.refs.Store(1)
	p.ch <- c
}

// close ends the stream, with err for the reader if it is not nil.
func (p *pipe) close(err error) {
	p.err = err
	close(p.ch)
}

func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur != nil {
			p.cur.release(p.free)
			p.cur = nil
		}
		c, ok := <-p.ch
		if !ok {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.cur, p.rest = c, c.data
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pipe) drain() {
	p.rest = nil
	if p.cur != nil {
		p.cur.release(p.free)
		p.cur = nil
	}
	for c := range p.ch {
		c.release(p.free)
	}
}

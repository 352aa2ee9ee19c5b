package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berthrun/berth/image/layer"
	"golang.org/x/sys/unix"
)

// source is where a layer's blob comes from.
type source interface {
	// open gives the blob from an offset on.
	open(off int64) (io.ReadCloser, error)
}

// errNoSource: the blob would have to be fetched, and nobody can.
var errNoSource = errors.New("pull the image again")

// stack is an image whose layers are being brought into place.
type stack struct {
	s      *Store
	img    *Image
	rep    *reporter
	sync   *groupSync
	moved  atomic.Int64    // bytes of blobs that came
	placed []chan struct{} // closed when the layer is in place
}

// maxCorrupt is how often content may come wrong before we believe it.
const maxCorrupt = 3

// place brings layer i into place: its blob, and the directory it unpacks to.
func (st *stack) place(ctx context.Context, i int, src source) error {
	for n := 1; ; n++ {
		err := st.attempt(ctx, i, src)
		if err == nil || !errors.Is(err, errAgain) || ctx.Err() != nil {
			return err
		}
		if n >= maxCorrupt {
			return ErrCorrupt
		}
		l := &st.img.Layers[i]
		st.rep.report(Event{Layer: l.Digest, State: Retrying, Total: l.Size, Err: ErrCorrupt})
	}
}

// errAgain: what was there has been thrown away, start afresh.
var errAgain = errors.New("try again")

func (st *stack) attempt(ctx context.Context, i int, src source) error {
	l := &st.img.Layers[i]
	if st.present(i) {
		st.rep.report(Event{Layer: l.Digest, State: Exists, Done: l.Size, Total: l.Size})
		return nil
	}
	f, stored, err := st.s.claim(ctx, l, func() {
		st.rep.report(Event{Layer: l.Digest, State: Waiting, Total: l.Size})
	})
	if err != nil {
		return err
	}
	defer f.Close()
	if st.present(i) {
		st.rep.report(Event{Layer: l.Digest, State: Done, Done: l.Size, Total: l.Size})
		return nil
	}
	return st.take(ctx, i, f, stored, src)
}

// present reports whether there is nothing to do for layer i.
func (st *stack) present(i int) bool {
	l := &st.img.Layers[i]
	if st.dir(i) == "" {
		return false
	}
	fi, err := os.Stat(st.s.blobPath(l.Digest))
	return err == nil && fi.Size() == l.Size
}

func (st *stack) dir(i int) string {
	return st.s.layerDir(st.img.Layers[i].DiffID, st.img.chain(i))
}

// claim opens and locks what there is of a layer's blob: the blob, or the part
// of it that came so far. Only the holder of the lock reads, writes or renames
// it; since the lock goes with the file, it covers the blob the part becomes.
func (s *Store) claim(ctx context.Context, l *Layer, onWait func()) (f *os.File, stored bool, err error) {
	for {
		path, stored := s.blobPath(l.Digest), true
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			path, stored = s.partPath(l.Digest), false
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		}
		if err != nil {
			return nil, false, s.diskError(err)
		}
		err = flockWait(ctx, f, unix.LOCK_EX, onWait)
		if err != nil {
			f.Close()
			return nil, false, err
		}
		if isAt(f, path) {
			return f, stored, nil
		}
		f.Close() // renamed or removed while we waited
	}
}

func isAt(f *os.File, path string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	want, err := os.Lstat(path)
	return err == nil && os.SameFile(have, want)
}

// take runs the blob through ingest and commits the results. f is the locked
// blob or part.
func (st *stack) take(ctx context.Context, i int, f *os.File, stored bool, src source) (err error) {
	l := &st.img.Layers[i]
	s := st.s
	if !stored && src == nil {
		os.Remove(f.Name())
		return errNoSource
	}
	in := &ingest{opts: s.layerOptions()}
	if st.dir(i) == "" {
		if in.root, err = s.tempDir("layer"); err != nil {
			return s.diskError(err)
		}
		defer func() {
			if in.root != nil {
				s.discard(in.root)
			}
		}()
		// The container's "/", which few layers have an entry for, is for every user.
		if err := in.root.Chmod(0o755); err != nil {
			return s.diskError(err)
		}
	}
	have, err := f.Seek(0, io.SeekEnd)
	if err == nil && have > l.Size {
		have, err = 0, reset(f, stored)
	}
	if err != nil {
		return err
	}
	state := Downloading
	if stored {
		state = Unpacking
	}
	var done int64
	in.moved = func(n int) {
		done += int64(n)
		st.moved.Add(int64(n))
		st.rep.report(Event{Layer: l.Digest, State: state, Done: done, Total: l.Size})
	}
	in.prefix = io.NewSectionReader(f, 0, have)
	if !stored && have < l.Size {
		body, err := src.open(have)
		if err != nil {
			if have == 0 {
				os.Remove(f.Name())
			}
			return err
		}
		defer body.Close()
		in.src, in.dst = body, f
	}
	res, err := in.run(ctx)
	if isNoSpace(err) {
		os.Remove(f.Name())
		return s.diskError(err)
	}
	if err != nil {
		return err
	}
	if res.digest != l.Digest || res.size != l.Size {
		os.Remove(f.Name())
		if src == nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, errNoSource)
		}
		return errAgain
	}
	if in.root != nil && res.applyErr == nil && res.diffID != l.DiffID {
		res.applyErr = fmt.Errorf("tar has DiffID %s where the configuration says %s: %w", res.diffID, l.DiffID, ErrCorrupt)
	}
	if res.applyErr != nil {
		os.Remove(f.Name())
		return res.applyErr
	}
	st.rep.report(Event{Layer: l.Digest, State: Unpacking, Done: l.Size, Total: l.Size})
	if err := st.commit(ctx, i, f, stored, in, res); err != nil {
		return s.diskError(err)
	}
	st.rep.report(Event{Layer: l.Digest, State: Done, Done: l.Size, Total: l.Size})
	return nil
}

// reset empties a part that cannot be right.
func reset(f *os.File, stored bool) error {
	if stored {
		os.Remove(f.Name())
		return errAgain
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// commit syncs and renames what ingest made. A layer that depends on those
// below waits for them first, without the lock: somebody who has it in another
// order may be waiting for ours.
func (st *stack) commit(ctx context.Context, i int, f *os.File, stored bool, in *ingest, res *ingested) error {
	l := &st.img.Layers[i]
	s := st.s
	if err := st.sync.do(s.root); err != nil {
		return err
	}
	if !stored {
		if err := os.Rename(f.Name(), s.blobPath(l.Digest)); err != nil {
			return err
		}
	}
	if in.root == nil {
		return nil
	}
	target := s.layerPath(l.DiffID)
	if !res.layer.SelfContained() {
		f.Close()
		if err := st.settle(ctx, i, in.root, res.layer); err != nil {
			return err
		}
		if err := st.sync.do(s.root); err != nil {
			return err
		}
		target = s.chainPath(st.img.chain(i))
	}
	err := unix.Renameat2(unix.AT_FDCWD, in.root.Name(), unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST {
		return nil // somebody was faster; ours is discarded
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: in.root.Name(), New: target, Err: err}
	}
	in.root.Close()
	in.root = nil
	return nil
}

// settle finishes layer i when all below are in place.
func (st *stack) settle(ctx context.Context, i int, root *os.File, res *layer.Result) error {
	var lower []string
	for j := i - 1; j >= 0; j-- {
		select {
		case <-st.placed[j]:
		case <-ctx.Done():
			return ctx.Err()
		}
		lower = append(lower, st.dir(j))
	}
	opts := st.s.layerOptions()
	return layer.Settle(root, res, lower, &opts)
}

func (s *Store) layerOptions() layer.Options { return layer.Options{Rootless: s.opts.Rootless} }

// discard removes a temporary directory and lets go of its lock.
func (s *Store) discard(dir *os.File) {
	removeAll(dir.Name())
	dir.Close()
}

// flushEarly has the disk write while the processor unpacks. The kernel would
// begin only with a tenth of the memory dirty (vm.dirty_background_ratio), and
// the sync before a layer is committed would then wait for all of it.
func (st *stack) flushEarly() (stop func()) {
	const (
		every  = 100 * time.Millisecond
		enough = 8 << 20
	)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(every)
		defer t.Stop()
		var flushed int64
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			if n := st.moved.Load(); n-flushed >= enough {
				flushed = n
				// An error comes again with the sync that counts.
				_ = st.sync.do(st.s.root)
			}
		}
	}()
	return func() { close(done); <-ended }
}

// groupSync joins the syncfs(2) calls of layers that finish at about the same
// time: whoever comes while one runs shares the next.
type groupSync struct {
	running sync.Mutex

	mu   sync.Mutex // guards next
	next *syncRound
}

type syncRound struct {
	done chan struct{}
	err  error
}

func (g *groupSync) do(root string) error {
	g.mu.Lock()
	r := g.next
	leader := r == nil
	if leader {
		r = &syncRound{done: make(chan struct{})}
		g.next = r
	}
	g.mu.Unlock()
	if !leader {
		<-r.done
		return r.err
	}
	g.running.Lock()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	r.err = syncfs(root)
	g.running.Unlock()
	close(r.done)
	return r.err
}

func syncfs(root string) error {
	d, err := os.Open(root)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: root, Err: err}
	}
	return nil
}

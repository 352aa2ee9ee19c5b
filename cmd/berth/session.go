package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berthrun/berth/container"
	"github.com/berthrun/berth/engine"
)

// foreground is a container, or a process in one, in the foreground of this
// process: its streams are ours, its exit code will be ours.
type foreground struct {
	std     stdio
	session *engine.Session
	keys    []byte // that detach; none: nothing does
	proxy   bool   // hand signals on to the process
	signals *signalQueue
	release func() // ends what was done about signals before

	// The streams to carry; nil where there is none, or where the process has
	// our own file.
	stdin          *os.File
	closeStdin     func() error
	stdout, stderr io.Reader
	// leftovers are given up when the process has ended, as far as they are
	// read: whoever it left behind may hold their other ends for ever.
	leftovers []*os.File

	term *terminal  // ours, where the process has one too
	left chan error // the user or a signal leaves, or an output is broken
}

// streams takes those of the session.
func (f *foreground) streams() {
	f.stdin, f.closeStdin = f.session.Stdin, f.session.CloseStdin
	f.stdout, f.stderr = f.session.Stdout, f.session.Stderr
}

// run lasts until the process ends or is left. It returns an error that
// carries the exit code: status where there is nothing to print.
func (f *foreground) run(ctx context.Context) error {
	f.left = make(chan error, 4)
	f.signals.catch()
	defer f.signals.stop()
	f.release()
	// From here on signals are for the process, the last one that was not too.
	var late signalError
	if errors.As(context.Cause(ctx), &late) {
		f.signals.ch <- late.sig
	}
	ctx = context.WithoutCancel(ctx)
	if f.session.TTY {
		if err := f.takeTerminal(ctx); err != nil {
			f.session.Close()
			return err
		}
		if f.term != nil {
			defer f.term.restore()
		}
	}
	exit, err := f.carry(ctx)
	if err == detached && f.term != nil {
		f.term.restore()
		fmt.Fprintln(f.std.err) // the shell's prompt is for a line of its own
	}
	if err != nil {
		return err
	}
	return exitStatus(exit)
}

// takeTerminal makes our terminal an extension of the process's.
func (f *foreground) takeTerminal(ctx context.Context) error {
	f.resize(ctx)
	if f.stdin == nil {
		return nil
	}
	if f.term = newTerminal(f.std.in); f.term == nil {
		return nil
	}
	if err := f.term.raw(); err != nil {
		return fmt.Errorf("set up terminal: %w", err)
	}
	return nil
}

// resize is an improvement, not a need: nobody hears of its failure.
func (f *foreground) resize(ctx context.Context) {
	for _, file := range []*os.File{f.std.in, f.std.out, f.std.err} {
		if cols, rows := size(file); cols > 0 {
			_ = f.session.Resize(ctx, cols, rows)
			return
		}
	}
}

// carry moves the streams until the process has ended or is left. Then only
// output that nobody takes may still be on its way, for this process to end with.
func (f *foreground) carry(ctx context.Context) (*container.Exit, error) {
	in, err := newInput(f.std.in)
	if err != nil {
		f.session.Close()
		return nil, fmt.Errorf("read input: %w", err)
	}
	defer in.close()
	var inputs, outputs sync.WaitGroup
	if f.stdin != nil {
		inputs.Go(func() { f.copyInput(in) })
	}
	if f.stdout != nil {
		outputs.Go(func() { f.copyOutput(f.std.out, f.stdout) })
	}
	if f.stderr != nil {
		outputs.Go(func() { f.copyOutput(f.std.err, f.stderr) })
	}
	inputs.Go(func() { f.handleSignals(ctx, f.signals) })

	exit, err := f.wait(ctx, &outputs)
	f.signals.stop()
	in.cancel()
	if err == detached {
		if e := f.session.Leave(); e != nil {
			err = e
		}
	} else {
		f.session.Close()
	}
	if f.stdin != nil {
		f.stdin.Close() // wakes a writer whose process does not read
	}
	inputs.Wait()
	return exit, err
}

// wait returns when the process has ended and its output is written, or when it
// is left.
func (f *foreground) wait(ctx context.Context, outputs *sync.WaitGroup) (*container.Exit, error) {
	type end struct {
		exit *container.Exit
		err  error
	}
	ended := make(chan end, 1)
	go func() { // ends with the session, which carry closes
		if len(f.leftovers) == 0 {
			outputs.Wait()
		}
		exit, err := f.session.Wait(ctx)
		for _, file := range f.leftovers {
			_ = file.SetReadDeadline(time.Now()) // see leftover.Read
		}
		outputs.Wait()
		ended <- end{exit, err}
	}()
	select {
	case e := <-ended:
		select { // a broken output ended the copying, not the process
		case err := <-f.left:
			return nil, err
		default:
		}
		return e.exit, e.err
	case err := <-f.left:
		return nil, err
	}
}

// leave ends the foreground; the process goes on.
func (f *foreground) leave(err error) {
	select {
	case f.left <- err:
	default: // others left first
	}
}

// detached is the error of who left by the detach keys.
const detached = status(0)

func (f *foreground) copyOutput(to *os.File, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				f.leave(outputError(err))
				return
			}
		}
		if err != nil {
			return // the end, or carry closed the session; Wait knows which
		}
	}
}

// copyInput ends with the input, at the detach keys, or when the process is
// gone. Where it ends by itself so does the process's input.
func (f *foreground) copyInput(in *input) {
	d := &detacher{}
	if f.session.TTY && f.term != nil {
		d.keys = f.keys
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := in.read(buf)
		if n > 0 {
			pass, found := d.feed(buf[:n])
			if _, err := f.stdin.Write(pass); err != nil {
				return // the process does not read any more
			}
			if found {
				f.leave(detached)
				return
			}
		}
		if errors.Is(err, errCancelled) {
			return
		}
		if err != nil {
			_, _ = f.stdin.Write(d.rest())
			_ = f.closeStdin()
			return
		}
	}
}

// leftover reads file, by way of Reader. After a deadline has passed it reads
// what is there and waits for nothing.
type leftover struct {
	io.Reader
	file *os.File
}

func (l leftover) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	rc, err := l.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	ctlErr := rc.Control(func(fd uintptr) { n, err = unix.Read(int(fd), p) })
	if ctlErr != nil || err != nil || n <= 0 {
		return 0, io.EOF
	}
	return n, nil
}

// exitStatus turns the end of a process into the error that exits with its code.
func exitStatus(exit *container.Exit) error {
	switch {
	case exit.Code == nil:
		return errors.New("exit status of the container: unknown: nobody was there to see it end")
	case exit.Error != "":
		return &codedError{*exit.Code, errors.New(exit.Error)}
	case *exit.Code == 0:
		return nil
	}
	return status(*exit.Code)
}

// input reads a file in a way that can be given up: what was not read stays for
// whoever reads next, such as the shell.
type input struct {
	fd     int
	wake   *os.File // read end; its end of file cancels
	waker  *os.File
	closed sync.Once
}

var errCancelled = errors.New("reading was cancelled")

func newInput(f *os.File) (*input, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{fd: int(f.Fd()), wake: r, waker: w}, nil
}

func (i *input) cancel() { i.closed.Do(func() { i.waker.Close() }) }

func (i *input) close() {
	i.cancel()
	i.wake.Close()
}

// read returns what is there, waiting for the first byte; io.EOF at the end,
// errCancelled after cancel.
func (i *input) read(buf []byte) (int, error) {
	fds := []unix.PollFd{
		{Fd: int32(i.wake.Fd()), Events: unix.POLLIN},
		{Fd: int32(i.fd), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case fds[0].Revents != 0:
			return 0, errCancelled
		}
		n, err := unix.Read(i.fd, buf)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

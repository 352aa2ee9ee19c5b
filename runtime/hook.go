package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// runHooks runs hooks one after the other, in the namespaces of the calling
// thread, and stops at the first that fails.
func runHooks(ctx context.Context, point string, hooks []specs.Hook, state specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	in, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for i := range hooks {
		if err := runHook(ctx, &hooks[i], in); err != nil {
			return fmt.Errorf("run %s hook #%d %s: %w", point, i, hooks[i].Path, err)
		}
	}
	return nil
}

// runPostStop runs the poststop hooks. They all are run, and none that fails
// brings anything back: what comes out is a WarningError.
func runPostStop(ctx context.Context, hooks []specs.Hook, state specs.State) error {
	var errs []error
	for i := range hooks {
		if err := runHooks(ctx, "poststop", hooks[i:i+1], state); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &WarningError{errors.Join(errs...)}
}

// checkHooks checks the configuration's hooks.
func checkHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	//lint:ignore SA1019 engines still use prestart
	for _, list := range [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop} {
		for i := range list {
			if !strings.HasPrefix(list[i].Path, "/") {
				return fmt.Errorf("hook %q: path must be absolute", list[i].Path)
			}
			if t := list[i].Timeout; t != nil && *t <= 0 {
				return fmt.Errorf("hook %s: timeout must be greater than zero", list[i].Path)
			}
		}
	}
	return nil
}

func runHook(ctx context.Context, h *specs.Hook, state []byte) error {
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args = h.Args
	if len(h.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // none, rather than the runtime's
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(state), &out, &out
	// A hook that leaves a child with its output behind does not hold us.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("killed: %w", ctx.Err())
	}
	if err != nil {
		text := bytes.TrimSpace(out.Bytes())
		if len(text) > 4096 {
			text = text[len(text)-4096:]
		}
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

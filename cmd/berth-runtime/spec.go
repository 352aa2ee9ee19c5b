package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berthrun/berth/runtime"
)

// spec writes a config.json to begin with.
func spec(_ context.Context, _ *global, args []string) error {
	bundle := "."
	f := newFlags()
	f.str(&bundle, "bundle", "b")
	if _, err := f.parse(args); err != nil {
		return err
	}
	b, err := json.MarshalIndent(runtime.DefaultSpec(), "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("file %s exists: remove it first", path)
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const usage = `usage:
  images build
  images list
  images push REGISTRY [NAME:TAG...]
  images serve ADDR
`

var errUsage = errors.New("bad usage")

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		if errors.Is(err, errUsage) {
			fmt.Fprint(os.Stderr, usage)
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	c := cache(cacheDir())
	switch verb, args := args[0], args[1:]; verb {
	case "build":
		dir, err := c.build()
		if err != nil {
			return err
		}
		fmt.Println(dir)
		return nil
	case "list":
		return c.list(os.Stdout)
	case "push":
		if len(args) == 0 {
			return errUsage
		}
		return c.push(args[0], args[1:])
	case "serve":
		if len(args) != 1 {
			return errUsage
		}
		return c.serve(args[0])
	default:
		return fmt.Errorf("%w: unknown verb %q", errUsage, verb)
	}
}

func cacheDir() string {
	if d := os.Getenv("BERTH_CACHE"); d != "" {
		return d
	}
	return "/var/cache/berth-test"
}

// cache is the folder that trees and images are kept in.
type cache string

func (c cache) path(elem ...string) string {
	return filepath.Join(append([]string{string(c)}, elem...)...)
}

//go:build !lean

package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// hubAuthKey is docker's name for docker.io in its configuration.
const hubAuthKey = "https://index.docker.io/v1/"

// authenticator finds the credentials for a repository: those given, or the
// first that podman's or docker's files have. No credentials is anonymous.
func authenticator(ref Reference, opts *PullOptions) (authn.Authenticator, error) {
	if c := opts.Credentials; c != nil {
		return &authn.Basic{Username: c.Username, Password: c.Password}, nil
	}
	files := authFiles()
	if opts.AuthFile != "" {
		if _, err := os.Stat(opts.AuthFile); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		files = []string{opts.AuthFile}
	}
	for _, file := range files {
		c, err := lookupAuth(file, ref)
		if err != nil {
			return nil, fmt.Errorf("credentials in %s: %w", file, err)
		}
		if c != nil {
			return authn.FromConfig(*c), nil
		}
	}
	return authn.Anonymous, nil
}

// authFiles lists the files in the order of containers-auth.json(5).
func authFiles() []string {
	if f := os.Getenv("REGISTRY_AUTH_FILE"); f != "" {
		return []string{f}
	}
	var files []string
	home, _ := os.UserHomeDir()
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers/auth.json"))
	} else if os.Geteuid() == 0 {
		files = append(files, "/run/containers/0/auth.json")
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		files = append(files, filepath.Join(dir, "containers/auth.json"))
	} else if home != "" {
		files = append(files, filepath.Join(home, ".config/containers/auth.json"))
	}
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		files = append(files, filepath.Join(dir, "config.json"))
	} else if home != "" {
		files = append(files, filepath.Join(home, ".docker/config.json"))
	}
	return files
}

// lookupAuth looks into one file, and asks the credential helper it names. The
// most specific entry counts: podman's files may name repositories.
func lookupAuth(file string, ref Reference) (*authn.AuthConfig, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	cf, err := config.LoadFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for _, key := range authKeys(ref) {
		c, err := cf.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		c.ServerAddress = ""
		if c != (types.AuthConfig{}) {
			return &authn.AuthConfig{
				Username:      c.Username,
				Password:      c.Password,
				Auth:          c.Auth,
				IdentityToken: c.IdentityToken,
				RegistryToken: c.RegistryToken,
			}, nil
		}
	}
	return nil, nil
}

func authKeys(ref Reference) []string {
	var keys []string
	for name := ref.Name(); name != ""; {
		keys = append(keys, name)
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	if ref.Domain == defaultDomain {
		keys = append(keys, hubAuthKey)
	}
	return keys
}

// Package berth_test keeps the import table of ARCHITECTURE.md: who may import
// whom, and what the small binaries must not link.
package berth_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/berthrun/berth/"

// mayImport is the table: a package and everything below it may import these of
// ours, and its own subpackages. "*" is everything.
var mayImport = map[string][]string{
	"container": {},
	"config":    {"container"},
	"image":     {},
	"unit":      {},
	"logs":      {"unit/journal"},
	"runtime":   {},
	"shim":      {"container", "logs", "unit/notify", "unit/journal"},
	"engine":    {"container", "config", "image", "unit", "logs", "shim"},

	"cmd/berth":           {"engine", "config", "container", "image", "logs", "unit"},
	"cmd/berth-hook":      {"engine", "config", "unit/journal"},
	"cmd/berth-generator": {"engine", "config"},
	"cmd/berth-shim":      {"shim", "container"},
	"cmd/berth-runtime":   {"runtime", "unit"},
	"cmd/berth-init":      {},

	"internal": {},
	"test":     {"*"},
}

// mustNotLink: what would make a process of which there is one per container,
// or one per start, bigger or slower.
var mustNotLink = map[string][]string{
	"cmd/berth-shim":    {"net", "net/http", "crypto/tls", "github.com/godbus", "github.com/google/go-containerregistry", "github.com/urfave", "github.com/vishvananda", "github.com/mdlayher"},
	"cmd/berth-runtime": {"net", "net/http", "crypto/tls", "github.com/godbus", "github.com/coreos", "github.com/urfave", "github.com/checkpoint-restore", "github.com/aperturerobotics"},
	"cmd/berth-init":    {"net", "encoding/json", "github.com", "fmt"},
	// Built lean, as they are installed: see image/lean.go.
	"cmd/berth":           registries,
	"cmd/berth-hook":      registries,
	"cmd/berth-generator": registries,
}

var registries = []string{"net/http", "crypto/tls", "github.com/klauspost", "github.com/google/go-containerregistry", "github.com/docker/cli"}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, tags string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", tags, "-json=ImportPath,Imports,Deps", "./...")
	out, err := cmd.Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := d.Decode(&p); {
		case err == io.EOF:
			return pkgs
		case err != nil:
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// row is the row of the table that a package belongs to.
func row(pkg string) (string, bool) {
	for name := pkg; ; {
		if _, ok := mayImport[name]; ok {
			return name, true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return "", false
		}
		name = name[:i]
	}
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

func TestImportTable(t *testing.T) {
	for _, p := range list(t, "") {
		pkg, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || pkg == "internal/deps" {
			continue
		}
		name, ok := row(pkg)
		if !ok {
			t.Errorf("%s has no place in the table", pkg)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module)
			if !ours || within(dep, name) || within(dep, "internal") {
				continue
			}
			allowed := slices.ContainsFunc(mayImport[name], func(a string) bool { return a == "*" || within(dep, a) })
			if !allowed {
				t.Errorf("%s imports %s, which the table does not allow", pkg, dep)
			}
		}
	}
}

func TestLinkedPackages(t *testing.T) {
	found := 0
	for _, p := range list(t, "lean,urfave_cli_no_docs") {
		banned, ok := mustNotLink[strings.TrimPrefix(p.ImportPath, module)]
		if !ok {
			continue
		}
		found++
		for _, dep := range p.Deps {
			for _, b := range banned {
				if dep == b || strings.HasPrefix(dep, b+"/") && strings.Contains(b, ".") {
					t.Errorf("%s links %s", p.ImportPath, dep)
				}
			}
		}
	}
	if found != len(mustNotLink) {
		t.Errorf("found %d of the %d binaries", found, len(mustNotLink))
	}
}

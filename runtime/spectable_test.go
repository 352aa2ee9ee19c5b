package runtime

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// specFields are the fields of a configuration that Linux has, by their paths:
// lists with [] and maps with {}.
func specFields(t reflect.Type, path string) []string {
	switch t.Kind() {
	case reflect.Pointer:
		return specFields(t.Elem(), path)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return specFields(t.Elem(), path+"[]")
		}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Struct {
			return specFields(t.Elem(), path+"{}")
		}
	case reflect.Struct:
		var list []string
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if p := f.Tag.Get("platform"); p != "" && !strings.Contains(p, "linux") {
				continue
			}
			sub := strings.TrimPrefix(path+"."+name, ".")
			if name == "" {
				sub = path // embedded
			}
			list = append(list, specFields(f.Type, sub)...)
		}
		return list
	}
	return []string{path}
}

// SPEC.md has a row for every field, naming functions and tests that exist.
func TestSpecTable(t *testing.T) {
	if list, _ := filepath.Glob("doc.go"); len(list) == 0 {
		t.Skip("needs the source")
	}
	doc, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][2]string)
	for line := range strings.SplitSeq(string(doc), "\n") {
		f := strings.Split(line, "|")
		if len(f) != 5 || !strings.HasPrefix(strings.TrimSpace(f[1]), "`") {
			continue
		}
		for name := range strings.SplitSeq(f[1], ",") {
			rows[strings.Trim(name, " `")] = [2]string{f[2], f[3]}
		}
	}
	for _, name := range specFields(reflect.TypeFor[specs.Spec](), "") {
		if strings.HasPrefix(name, "hooks.") {
			name = strings.SplitN(name, "[]", 2)[0]
		}
		if _, ok := rows[name]; !ok {
			t.Errorf("no row for %s", name)
		}
	}
	var tests strings.Builder
	files, _ := filepath.Glob("*_test.go")
	more, _ := filepath.Glob("../cmd/berth-runtime/*_test.go")
	for _, f := range append(files, more...) {
		b, _ := os.ReadFile(f)
		tests.Write(b)
	}
	where := regexp.MustCompile("`([a-z0-9_]+\\.go): ([A-Za-z]+)`")
	for name, row := range rows {
		found := where.FindAllStringSubmatch(row[0], -1)
		if len(found) == 0 && !strings.Contains(row[0], "not ") {
			t.Errorf("%s: done nowhere", name)
		}
		for _, m := range found {
			b, err := os.ReadFile(m[1])
			if err != nil || !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|var |type )`+m[2]+`\b`).Match(b) {
				t.Errorf("%s: no %s in %s", name, m[2], m[1])
			}
		}
		names := regexp.MustCompile(`Test[A-Za-z0-9]+`).FindAllString(row[1], -1)
		if len(names) == 0 && !strings.Contains(row[1], "none") {
			t.Errorf("%s: no test", name)
		}
		for _, n := range names {
			if !strings.Contains(tests.String(), "func "+n+"(") {
				t.Errorf("%s: there is no %s", name, n)
			}
		}
	}
}

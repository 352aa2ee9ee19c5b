package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/template"
	"unicode"
)

// rowFormat is a --format for rows: a template, with columns where it began
// with "table".
type rowFormat struct {
	tmpl  *template.Template
	table bool
}

func parseRowFormat(format string) (*rowFormat, error) {
	f := &rowFormat{}
	if rest, ok := strings.CutPrefix(format, "table"); ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t' || strings.HasPrefix(rest, `\t`)) {
		f.table = true
		format = strings.TrimSpace(rest)
		if !strings.Contains(format, `\t`) && !strings.Contains(format, "\t") {
			format = strings.ReplaceAll(format, "}} {{", "}}\t{{")
		}
	}
	var err error
	f.tmpl, err = parseTemplate(format, templateFuncs())
	return f, err
}

// parseTemplate reads a template in which \t and \n may be written as two
// characters, as in a shell's single quotes.
func parseTemplate(format string, funcs template.FuncMap) (*template.Template, error) {
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
	t, err := template.New("format").Funcs(funcs).Parse(format)
	if err != nil {
		return nil, usagef("--format: %s", templateError(err))
	}
	return t, nil
}

// templateError is the text of a template's failure without the library's view
// of where it was.
func templateError(err error) string {
	s := err.Error()
	s = strings.TrimPrefix(s, "template: ")
	if _, after, found := strings.Cut(s, "can't evaluate field "); found {
		field, _, _ := strings.Cut(after, " ")
		return fmt.Sprintf("there is no field .%s", field)
	}
	if _, after, found := strings.Cut(s, "map has no entry for key "); found {
		return "there is no field ." + strings.Trim(after, `"`)
	}
	if _, after, found := strings.Cut(s, ": executing "); found {
		if _, cause, found := strings.Cut(after, ">: "); found {
			s = cause
		}
	}
	return strings.TrimPrefix(s, "format:")
}

// templateFuncs are those of docker and podman.
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"json":  toJSON,
		"split": strings.Split,
		"join":  join,
		"title": title,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"pad": func(s string, before, after int) string {
			if s == "" {
				return s
			}
			return strings.Repeat(" ", max(0, before)) + s + strings.Repeat(" ", max(0, after))
		},
		"truncate": func(s string, n int) string {
			if r := []rune(s); n >= 0 && len(r) > n {
				return string(r[:n])
			}
			return s
		},
	}
}

func toJSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// join joins anything that is a list.
func join(list any, sep string) (string, error) {
	v := reflect.ValueOf(list)
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Slice, reflect.Array:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = fmt.Sprint(v.Index(i).Interface())
		}
		return strings.Join(parts, sep), nil
	}
	return "", errors.New("join needs a list")
}

// title makes the first letter a capital one.
func title(s string) string {
	for i, r := range s {
		return string(unicode.ToUpper(r)) + s[i+len(string(r)):]
	}
	return s
}

// headings is what the columns of a table template are called: it stands in for
// a row. A heading that is not given is the field's name in capitals.
type headings map[string]string

// Label is the heading of {{.Label "key"}}.
func (headings) Label(key string) string {
	return strings.ToUpper(strings.NewReplacer("-", " ", "_", " ").Replace(key))
}

// headingsFor adds a heading for every field that a template can name in row.
func headingsFor(row any, given headings) headings {
	all := headings{}
	t := reflect.TypeOf(row)
	for i := range t.NumMethod() {
		name := t.Method(i).Name
		all[name] = strings.ToUpper(words(name))
	}
	for k, v := range given {
		all[k] = v
	}
	return all
}

// words splits a field's name: CreatedAt is "Created At".
func words(name string) string {
	var b strings.Builder
	var last rune
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && unicode.IsLower(last) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		last = r
	}
	return b.String()
}

// headingFuncs leave headings as they are.
func headingFuncs() template.FuncMap {
	same := func(v any, _ ...any) any { return v }
	funcs := template.FuncMap{}
	for name := range templateFuncs() {
		funcs[name] = same
	}
	return funcs
}

// printRows writes rows by a template, one line each.
func printRows[T any](c *call, format string, given headings, rows []T) error {
	f, err := parseRowFormat(format)
	if err != nil {
		return err
	}
	var cells [][]string
	if f.table && !c.flags.Bool("noheading") {
		t, err := f.tmpl.Clone()
		if err != nil {
			return err
		}
		var b bytes.Buffer
		var zero T
		if err := t.Funcs(headingFuncs()).Option("missingkey=error").Execute(&b, headingsFor(zero, given)); err != nil {
			return usagef("--format: %s", templateError(err))
		}
		cells = append(cells, strings.Split(b.String(), "\t"))
	}
	for _, row := range rows {
		var b bytes.Buffer
		if err := f.tmpl.Execute(&b, row); err != nil {
			return usagef("--format: %s", templateError(err))
		}
		if f.table {
			cells = append(cells, strings.Split(b.String(), "\t"))
		} else {
			c.println(b.String())
		}
	}
	writeTable(c.out, cells)
	return nil
}

// printJSON writes v indented as podman does.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "    ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printObject writes one object by a template. A field that the template names
// as it is called in the object's JSON is found too, as with docker inspect.
func printObject(w io.Writer, format string, v any) error {
	t, err := parseTemplate(format, templateFuncs())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		generic, genErr := asJSON(v)
		if genErr != nil {
			return genErr
		}
		b.Reset()
		if t.Option("missingkey=error").Execute(&b, generic) != nil {
			return usagef("--format: %s", templateError(err))
		}
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// asJSON is v as a JSON reader sees it, numbers as they were written.
func asJSON(v any) (generic any, err error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&generic)
	return generic, err
}

package container

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fullRecord has something in every field.
func fullRecord() *Record {
	r := testRecord("web")
	v := reflect.ValueOf(r).Elem()
	fillValue(v)
	r.Version, r.ID, r.Name = RecordVersion, NewID(), "web"
	return r
}

func fillValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(`x "\` + "\n\u2028é<>&")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1<<62 + 1)
	case reflect.Uint64:
		v.SetUint(1<<63 + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fillValue(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillValue(k)
		fillValue(e)
		v.SetMapIndex(k, e)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fillValue(v.Field(i))
		}
	default:
		panic(v.Kind())
	}
}

// Every field survives the disk: two with one name, or an omitempty that eats
// a value, would not.
func TestRecordRoundTrip(t *testing.T) {
	empty := &[]string{} // an entry point of nothing is not none
	for _, want := range []*Record{fullRecord(), testRecord("web"), {Version: 1, ID: NewID(), Name: "a", Spec: Spec{Entrypoint: empty}}} {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRecord(data, decodeAll)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-written +read):\n%s", diff)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []*Record{fullRecord(), testRecord("web")} {
		data, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	for _, s := range []string{"", "null", "{}", "[]", `{"version":1e400}`, `{"version":2}`, `{"created":"x"}`, strings.Repeat("[", 1000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data, decodeAll)
		if err != nil {
			return
		}
		if !isID(r.ID) || CheckName(r.Name) != nil || r.Version != RecordVersion {
			t.Fatalf("took %q for a record", data)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRecord(again, decodeAll)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := json.Marshal(got)
		if err != nil || string(twice) != string(again) {
			t.Fatalf("written %s\nread    %s", again, twice)
		}
	})
}

// What the shim is given is what the record says, but for what it does not need.
func TestDecodeStarting(t *testing.T) {
	r := fullRecord()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeRecord(data, decodeStarting)
	if err != nil {
		t.Fatal(err)
	}
	want := *r
	want.Spec = Spec{Resources: r.Spec.Resources}
	want.Mounts, want.Labels = nil, nil
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

package cache

import (
	"reflect"
	"slices"
	"testing"
	"unsafe"
)

// TestCopied: a copy has every field, but for those that are the original's alone.
func TestCopied(t *testing.T) {
	own := []string{
		"checked", // looked up anew
		"codings", // of the body, which the copy is to have another of
		"memo",    // of the fields
	}
	var o object
	v := reflect.ValueOf(&o).Elem()
	at := func(v reflect.Value, i int) reflect.Value {
		f := v.Field(i)
		return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
	}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !slices.Contains(own, name) {
			fillIn(t, name, at(v, i))
		}
	}
	o.checked.Store(1)
	c := reflect.ValueOf(o.copied()).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !slices.Contains(own, name) && !reflect.DeepEqual(at(c, i).Interface(), at(v, i).Interface()) {
			t.Errorf("the copy has no %s", name)
		}
	}
}

// fillIn makes v something that is not zero.
func fillIn(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fillIn(t, name, v.Field(i))
				return
			}
		}
		t.Fatalf("%s has nothing to fill in", name)
	default:
		t.Fatalf("%s is of a kind that can't be filled in: %s", name, v.Kind())
	}
}

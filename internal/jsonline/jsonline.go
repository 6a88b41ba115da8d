// Package jsonline writes values as JSON in the form that all commands and the
// API share: one line, times in UTC regardless of this machine's time zone, and
// an empty list as [], not null.
package jsonline

import (
	"encoding/json"
	"io"
	"reflect"
	"time"
)

// Write writes one value as one line.
func Write(w io.Writer, value any) error {
	if value == nil {
		_, err := io.WriteString(w, "null\n")
		return err
	}
	plain := reflect.New(reflect.TypeOf(value)).Elem()
	plain.Set(reflect.ValueOf(value))
	normalize(plain)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(plain.Interface())
}

// normalize puts the times in v in UTC and replaces nil lists by empty ones.
func normalize(v reflect.Value) {
	if !v.CanSet() {
		return
	}
	if at, ok := v.Addr().Interface().(*time.Time); ok {
		*at = at.UTC()
		return
	}
	switch v.Kind() { //nolint:exhaustive // others hold neither times nor lists
	case reflect.Pointer:
		if !v.IsNil() {
			normalize(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			normalize(v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return // bytes: null means that they were removed
		}
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			normalize(v.Index(i))
		}
	}
}

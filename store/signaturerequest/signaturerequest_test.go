package signaturerequest_test

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/signaturerequest"
)

func TestSignatureRequest(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	read := func() (r signaturerequest.Row) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) (err error) {
			r, err = signaturerequest.Lock(t.Context(), tx, "id")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got := read(); !reflect.DeepEqual(got, signaturerequest.Row{ID: "id", Versions: map[string]string{}}) {
		t.Errorf("a new row: %+v", got)
	}
	text, at := "text", time.UnixMilli(1694664207595).UTC()
	want := signaturerequest.Row{
		ID: "id", Status: &text, Title: &text, Reason: &text, SigningType: &text, CreatedAt: &at, UpdatedAt: &at, ExpiresAt: &at,
		LastEventType: &text, LastEventTime: &at, Versions: map[string]string{"status": "1"},
	}
	err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error { return signaturerequest.Update(t.Context(), tx, want) })
	if err != nil {
		t.Fatal(err)
	}
	got := read()
	for _, at := range []*time.Time{got.CreatedAt, got.UpdatedAt, got.ExpiresAt, got.LastEventTime} {
		*at = at.UTC()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

// Several transactions at once merge into one row, one after the other.
func TestSignatureRequestAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var writers sync.WaitGroup
	const each = 10
	for w := range 4 {
		writers.Go(func() {
			for n := range each {
				err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
					r, err := signaturerequest.Lock(t.Context(), tx, "id")
					if err != nil {
						return err
					}
					r.Versions[fmt.Sprint(w, n)] = ""
					return signaturerequest.Update(t.Context(), tx, r)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.signature_requests, jsonb_object_keys(versions)`); n != 4*each {
		t.Errorf("%d of %d merges remain", n, 4*each)
	}
}

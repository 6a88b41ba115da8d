package store_test

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// inEnglish returns the URL of a new database whose texts are ordered as in English:
// a1, A1, a2.
func inEnglish(t *testing.T) string {
	t.Helper()
	address := pgtest.AdminURL(t, pgtest.NewEmpty(t))
	conn := pgtest.Conn(t, address)
	if !pgtest.Value[bool](t, conn, `SELECT current_setting('server_version_num')::int >= 150000 AND EXISTS (SELECT FROM pg_collation WHERE collname = 'en-x-icu')`) {
		t.Skip("the databases of this server cannot have a collation of ICU")
	}
	name := "english_" + strings.ToLower(rand.Text())
	pgtest.Exec(t, conn, `CREATE DATABASE `+name+` TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'`)
	t.Cleanup(func() { pgtest.Exec(t, conn, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if err := migrations.Up(t.Context(), u.String()); err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// If texts are ordered as in English, the range of A also holds what begins with a.
// A page still reads a bounded number of rows, and the pages find what begins with A.
func TestSearchByIDInEnglish(t *testing.T) {
	t.Parallel()
	address := inEnglish(t)
	s, conn := storeOn(t, pgtest.Pool(t, address)), pgtest.Conn(t, address)
	exec(t, conn, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT md5(n::text)::uuid, 'account', CASE WHEN n % 1000 = 7 THEN 'A' ELSE 'a' END || n, 'signature_request_signed', now(), '', '', '', 'k', now()
		FROM generate_series(1, 5000) n`)
	exec(t, conn, analyzeSQL)
	const looks = 500
	f := store.Search{ID: "A"}.Looking(looks)
	if got := searchAll(t, s, f, 2); len(got) != 5 {
		t.Errorf("found %v, want the five events of A7 to A4007", got)
	}
	first, err := s.Search(t.Context(), f, store.SearchPosition{}, 50)
	if err != nil || !first.Stopped || first.Next == nil {
		t.Errorf("the page has looked at %d of 5,000 rows, and does not say so: %+v, %v", looks, first, err)
	}
	for _, q := range f.Queries() {
		plan := explain(t, conn, q.SQL, q.Args)
		for _, line := range storetest.RemovedRows.FindAllStringSubmatch(plan, -1) {
			if len(line[1]) > 3 {
				t.Errorf("reads %s rows and discards them:\n%s", line[1], plan)
			}
		}
	}
}

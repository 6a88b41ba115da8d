package signaturerequest_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/signaturerequest"
)

// New rows and existing ones are merged in the same call, and merge sees each as
// it is.
func TestMerge(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	mark := func(name string, ids ...string) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
			return signaturerequest.Merge(t.Context(), tx, ids, func(r *signaturerequest.Row) {
				r.Versions[name] = ""
				r.Title = &name
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	mark("1", "a", "c")
	mark("2", "a", "b", "c", "d")
	mark("3", "b")
	mark("4")
	got := storetest.Value[string](t, s.Pool(), `
		SELECT string_agg(concat_ws(' ', signature_request_id, title, versions), '; ' ORDER BY signature_request_id) FROM lumin.signature_requests`)
	if want := `a 2 {"1": "", "2": ""}; b 3 {"2": "", "3": ""}; c 2 {"1": "", "2": ""}; d 2 {"2": ""}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Transactions that merge the same rows at once neither lose a change nor wait
// for each other in a circle.
func TestMergeAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	if _, err := s.Pool().Exec(t.Context(), `CREATE TABLE public.merged (by text, id text)`); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	const each, requests = 25, 20
	for w := range 4 {
		writers.Go(func() {
			for n := range each {
				var ids []string
				for id := range requests {
					if rand.IntN(2) == 0 || id == 0 {
						ids = append(ids, fmt.Sprintf("id-%02d", id+n/5*3))
					}
				}
				slices.Sort(ids)
				err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
					if err := signaturerequest.Merge(t.Context(), tx, ids, func(r *signaturerequest.Row) { r.Versions[fmt.Sprint(w, "/", n)] = "" }); err != nil {
						return err
					}
					_, err := tx.Exec(t.Context(), `INSERT INTO public.merged SELECT $1, unnest($2::text[])`, fmt.Sprint(w, "/", n), ids)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	lost := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM public.merged m WHERE NOT EXISTS (
		SELECT FROM lumin.signature_requests s WHERE s.signature_request_id = m.id AND s.versions ? m.by)`)
	if lost > 0 {
		t.Errorf("%d merges are lost", lost)
	}
}

// A plan made for the empty table looks up each row once the table is large.
func TestMergePlans(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	const some = `ARRAY['r7', 'r20000', 'new']`
	args := some
	for _, column := range []string{"text", "text", "text", "text", "timestamptz", "timestamptz", "timestamptz", "text", "timestamptz", "timestamptz"} {
		args += `, ARRAY[NULL, NULL, NULL]::` + column + `[]`
	}
	args += `, ARRAY['{}', '{}', '{}'], 3`
	queries := map[string][2]string{
		"insert": {signaturerequest.InsertManySQL, args}, "update": {signaturerequest.UpdateManySQL, args},
		"select": {signaturerequest.SelectManySQL, some},
	}
	exec(`ALTER TABLE lumin.signature_requests SET (autovacuum_enabled = false)`)
	exec(`SET plan_cache_mode = force_generic_plan`)
	for name, q := range queries {
		exec(`PREPARE ` + name + `_q AS ` + q[0])
		exec(`BEGIN; EXECUTE ` + name + `_q(` + q[1] + `); ROLLBACK`)
	}
	exec(`INSERT INTO lumin.signature_requests (signature_request_id) SELECT 'r' || n FROM generate_series(1, 30000) n`)
	for name, q := range queries {
		exec(`BEGIN`)
		rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, VERBOSE) EXECUTE `+name+`_q(`+q[1]+`)`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if storetest.ReadsAll.MatchString(fmt.Sprint(plan)) {
			t.Errorf("%s reads the whole table: %q", name, plan)
		}
		exec(`ROLLBACK`)
	}
}

package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
	"lumin-ingest/store/transfer"
)

// old returns a database with events of every kind: from two sources, redelivered,
// in conflict, promoted, dismissed, unrecognized, decoded, late, recovered with its
// original, and without a body.
func old(tb testing.TB) *store.Store {
	tb.Helper()
	s := storetest.New(tb)
	storetest.Register(tb, s, "book")
	variant := func(n int, title string) store.Delivery {
		return storetest.Variant(n, "https://example.com/", title, "book")
	}
	late := storetest.Delivery(7)
	late.Late = true
	storetest.Record(tb, s,
		storetest.Delivery(1, "book"), storetest.Delivery(1, "book"), storetest.From("app:crm", storetest.Delivery(1, "book")),
		storetest.Variant(1, "https://example.com/?token=2", "title", "book"),
		variant(2, "a"), variant(2, "b"), variant(2, "c"),
		storetest.SignedBy(3, "ada@example.com", "1", "book"), storetest.SignedBy(3, "bob@example.com", "1", "book"),
		late, storetest.Delivery(8, "book"),
		store.Delivery{Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: time.Now()},
		unrecognized(9),
	)
	sql := func(sql string) { tb.Helper(); storetest.Exec(tb, s.Pool(), sql) }
	sql(`SELECT lumin.promote_conflict(d.event_id, 'two signers', d.payload_sha256) FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id WHERE e.signature_request_id = 'request-3'`)
	sql(`SELECT lumin.dismiss_conflict(d.event_id, 'the title', d.payload_sha256) FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id
		WHERE e.signature_request_id = 'request-2' AND position('"b"' IN convert_from(d.payload, 'UTF8')) > 0`)
	sql(`UPDATE lumin.events SET payload = NULL, payload_removed_at = received_at + interval '1 day' WHERE signature_request_id = 'request-8'`)
	order := storetest.Order(tb, s, replay.Filter{Status: replay.Unrecognized})
	if n := storetest.CarryOut(tb, s, order, replay.Jobs{Route: func(string, lumin.EventType) []store.JobSpec { return nil }}, 10); n != 1 {
		tb.Fatalf("%d events decoded", n)
	}
	err := pgx.BeginFunc(tb.Context(), s.Pool(), func(tx pgx.Tx) error {
		_, err := s.RecoverTx(tb.Context(), tx, store.Recovery{RecoveredAt: time.Now(), Payload: []byte(
			`{"event":{"event_time":1694664209999,"event_type":"signature_request_approved"},"signature_request":{"signature_request_id":"request-5"},"recovered":{}}`)})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	storetest.Record(tb, s, approved(5))
	return s
}

// unrecognized is a delivery that an older program could not decode.
func unrecognized(n int) store.Delivery {
	d := storetest.Delivery(n)
	d.Envelope = nil
	return d
}

func approved(n int) store.Delivery {
	d := storetest.Delivery(n)
	d.Envelope.EventType = lumin.SignatureRequestApproved
	d.Payload = bytes.Replace(d.Payload, []byte(lumin.SignatureRequestSigned), []byte(lumin.SignatureRequestApproved), 1)
	return d
}

// export returns the lines of all events.
func export(tb testing.TB, s *store.Store, oldestFirst bool) (lines []string) {
	tb.Helper()
	for e, err := range s.Events(tb.Context(), store.EventFilter{Bodies: true, OldestFirst: oldestFirst}) {
		if err != nil {
			tb.Fatal(err)
		}
		line, err := json.Marshal(e)
		if err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

func mustImport(tb testing.TB, s *store.Store, lines []string, runs bool) transfer.Result {
	tb.Helper()
	i := transfer.Importer{Store: s, Runs: runs}
	result, err := i.Import(tb.Context(), strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// contents is all that is stored of events, with related events named by key and
// source in place of their ids.
func contents(tb testing.TB, s *store.Store) string {
	tb.Helper()
	return storetest.Value[string](tb, s.Pool(), `
		SELECT string_agg(row_to_json(t)::text, E'\n' ORDER BY t.event_key, t.source) FROM (
		    SELECT (to_jsonb(e) - '{id,decoded_from,promoted_from}'::text[]) AS e, e.event_key, e.source,
		           (SELECT event_key || source FROM lumin.events WHERE id = e.decoded_from) AS decoded,
		           (SELECT event_key || source FROM lumin.events WHERE id = e.promoted_from) AS promoted,
		           ARRAY(SELECT (to_jsonb(d) - '{event_id,promoted_id}'::text[])
		                        || jsonb_build_object('to', (SELECT event_key || source FROM lumin.events WHERE id = d.promoted_id))
		                 FROM lumin.redeliveries d WHERE d.event_id = e.id ORDER BY d.payload_sha256) AS repeated
		    FROM lumin.events e) t`)
}

// Everything but ids is the same in the other database, whatever the order of the
// lines. Importing once more changes nothing.
func TestImport(t *testing.T) {
	t.Parallel()
	from := old(t)
	want := contents(t, from)
	for name, lines := range map[string][]string{"oldest first": export(t, from, true), "newest first": export(t, from, false)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := storetest.New(t)
			storetest.Register(t, to, "book")
			first := mustImport(t, to, lines, false)
			if first.Imported != int64(len(lines)) || first.Lines != first.Imported || first.Stored+first.Superseded+first.Bodiless+first.Runs != 0 {
				t.Errorf("%+v of %d lines", first, len(lines))
			}
			if got := contents(t, to); got != want {
				t.Errorf("imported\n%s\nwant\n%s", got, want)
			}
			again := mustImport(t, to, append(slices.Clone(lines), lines...), true)
			if again.Stored != int64(2*len(lines)) || again.Imported+again.Redeliveries+again.Runs != 0 {
				t.Errorf("again: %+v", again)
			}
			if got := contents(t, to); got != want {
				t.Errorf("imported again\n%s\nwant\n%s", got, want)
			}
			if n := storetest.Count(t, to).Runs; n != 0 {
				t.Errorf("%d runs", n)
			}
		})
	}
}

// An event comes with its runs, if they are asked for, and never a late one or one
// without a body.
func TestImportWithRuns(t *testing.T) {
	t.Parallel()
	lines := export(t, old(t), false)
	to := storetest.New(t)
	if _, err := catalog.AddJobTypes(t.Context(), to.Pool(), []catalog.JobType{
		{Kind: "book", Queue: "default", MaxAttempts: 4},
		{Kind: "crm", Queue: "slow", Sources: []string{"app:crm"}, RefusesRecovered: true},
	}); err != nil {
		t.Fatal(err)
	}
	result := mustImport(t, to, lines, true)
	const runsSQL = `SELECT string_agg(concat_ws(' ', r.job_kind, e.signature_request_id, e.event_type), ', ' ORDER BY r.job_kind, e.signature_request_id, e.event_type)
		FROM lumin.runs r JOIN lumin.events e ON e.id = r.event_id JOIN lumin.river_job j ON j.id = r.job_id AND j.args ->> 'event_key' = r.event_key::text`
	const want = "book request-1 signature_request_signed, book request-2 signature_request_signed, book request-3 signature_request_signed, " +
		"book request-3 signature_request_signed, book request-5 signature_request_approved, book request-9 signature_request_signed, crm request-1 signature_request_signed"
	if got := storetest.Value[string](t, to.Pool(), runsSQL); got != want || result.Runs != 7 {
		t.Errorf("%d runs: %s\nwant %s", result.Runs, got, want)
	}
	// The idempotency key depends on the event key and the job type alone.
	storetest.WantState(t, to, storetest.Delivery(1), "book", "pending 0")
}

// A line that was damaged in any way is named, and nothing of it is stored. The lines
// before it are.
func TestDamagedLines(t *testing.T) {
	t.Parallel()
	lines := export(t, old(t), true)
	whole := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `"request-2"`) })
	bodiless := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `"request-8"`) })
	replace := func(pattern, with string) func(string) string {
		return func(line string) string {
			damaged := regexp.MustCompile(pattern).ReplaceAllString(line, with)
			if damaged == line {
				t.Errorf("%s is not in %s", pattern, line)
			}
			return damaged
		}
	}
	for name, c := range map[string]struct {
		line   int
		damage func(string) string
		want   string
	}{
		"cut off":                {whole, func(l string) string { return l[:len(l)/2] }, "JSON"},
		"no body":                {whole, replace(`"key_id":.*`, `"x":1}`), "--payload"},
		"body left out":          {whole, replace(`"payload":"[^"]*"`, `"payload":null`), "--payload"},
		"body":                   {whole, replace(`"payload":"eyJldm`, `"payload":"eyJldn`), "payload_sha256"},
		"hash":                   {whole, replace(`"payload_sha256":"[0-9a-f]{2}`, `"payload_sha256":"`), "payload_sha256"},
		"key":                    {whole, replace(`"event_key":"018`, `"event_key":"118`), "event_key"},
		"key that is none":       {whole, replace(`"event_key":"018`, `"event_key":"x`), "event_key"},
		"request":                {whole, replace(`"signature_request_id":"request-2"`, `"signature_request_id":"request-3"`), "signature_request_id"},
		"type":                   {whole, replace(`signature_request_signed"`, `signature_request_viewed"`), "event_type"},
		"time":                   {whole, replace(`("event_time":"....-..-..T..:..:..)`, `${1}9`), ""},
		"half an identity":       {whole, replace(`"event_type":"[^"]*"`, `"event_type":null`), "together"},
		"source":                 {whole, replace(`"source":"account"`, `"source":"web"`), "source"},
		"claims to be recovered": {whole, replace(`"source":"account"`, `"source":"recovered"`), "signature"},
		"signature":              {whole, replace(`"signature":"00`, `"signature":"0x`), "signature"},
		"receipt":                {whole, replace(`"received_at":"[^"]*"`, `"received_at":"0001-01-01T00:00:00Z"`), "received_at"},
		"difference":             {whole, replace(`"differs":"content"`, `"differs":"x"`), "repeated body 1"},
		"repeated body":          {whole, replace(`("differs":"content","payload":")eyJldm`, `${1}eyJldn`), "repeated body"},
		"decision":               {whole, replace(`"decided_by":"[^"]*",`, ``), "decision"},
		"key without a body":     {bodiless, replace(`"event_key":"018`, `"event_key":"118`), "event_key"},
		"NUL without a body":     {bodiless, replace(`"key_id":"`, `"key_id":"\u0000`), "refuses"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := storetest.New(t)
			damaged := slices.Clone(lines)
			damaged[c.line] = c.damage(damaged[c.line])
			text := strings.Join(damaged, "\n")
			_, err := (&transfer.Importer{Store: to}).Import(t.Context(), strings.NewReader(text))
			var d *transfer.DamagedLine
			if !errors.As(err, &d) || d.Line != int64(c.line+1) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "request-") {
				t.Fatalf("error %v, want line %d and %q", err, c.line+1, c.want)
			}
			if n := storetest.Count(t, to).Events; n < c.line {
				t.Errorf("%d events, want those of the %d lines before", n, c.line)
			}
			var skipped []int64
			i := transfer.Importer{Store: to, Damaged: func(d *transfer.DamagedLine) error { skipped = append(skipped, d.Line); return nil }}
			result, err := i.Import(t.Context(), strings.NewReader(text))
			if err != nil || result.Damaged != 1 || !slices.Equal(skipped, []int64{int64(c.line + 1)}) || storetest.Count(t, to).Events != len(lines)-1 {
				t.Errorf("skipping: %+v, %v, lines %v", result, err, skipped)
			}
		})
	}
}

// Nothing that was removed in the other database is stored there again, and of a
// recovered event and its original only the first.
func TestImportBesideOthers(t *testing.T) {
	t.Parallel()
	lines := export(t, old(t), true)
	to := storetest.New(t)
	storetest.Exec(t, to.Pool(), `SELECT lumin.erase('{request-2}', 'a reason')`)
	storetest.Record(t, to, approved(5), storetest.From("app:other", storetest.Delivery(3)))
	storetest.Exec(t, to.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE source = 'app:other'`)
	result := mustImport(t, to, lines, false)
	if result.Superseded != 1 || result.Bodiless != 2 || result.Imported != int64(len(lines)-1) {
		t.Errorf("%+v", result)
	}
	const keptSQL = `SELECT count(*) FROM lumin.events e LEFT JOIN lumin.redeliveries d ON d.event_id = e.id AND d.payload IS NOT NULL
		WHERE e.signature_request_id = 'request-2' AND (e.payload IS NOT NULL OR d.payload IS NOT NULL)`
	if n := storetest.Value[int](t, to.Pool(), keptSQL); n != 0 {
		t.Errorf("%d erased bodies are stored", n)
	}

	// The other way round: the original of an event that was recovered here.
	from := storetest.New(t)
	storetest.Record(t, from, approved(5))
	to = storetest.New(t)
	storetest.Register(t, to, "book")
	err := pgx.BeginFunc(t.Context(), to.Pool(), func(tx pgx.Tx) error {
		_, err := to.RecoverTx(t.Context(), tx, store.Recovery{RecoveredAt: time.Now(), Payload: approved(5).Payload})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if result := mustImport(t, to, export(t, from, true), true); result.Superseded != 1 || storetest.Count(t, to).Events != 1 {
		t.Errorf("%+v", result)
	}
}

// Files of two databases may hold a recovered event and its original side by side.
// Only the first of them is stored, and has a run.
func TestImportRecoveredBesideOriginal(t *testing.T) {
	t.Parallel()
	delivered, made := storetest.New(t), storetest.New(t)
	storetest.Record(t, delivered, approved(5), approved(6))
	for _, n := range []int{5, 6} {
		recoverAt(t, made, approved(n), 1694664209999)
	}
	originals, recovered := export(t, delivered, true), export(t, made, true)
	for name, lines := range map[string][]string{
		"originals first": slices.Concat(originals, recovered),
		"recovered first": slices.Concat(recovered, originals),
		"by turns":        {originals[0], recovered[0], recovered[1], originals[1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := storetest.New(t)
			storetest.Register(t, to, "book")
			result := mustImport(t, to, lines, true)
			if result.Imported != 2 || result.Superseded != 2 || result.Runs != 2 {
				t.Errorf("%+v", result)
			}
			kept := map[string]int{"recovered first": 2, "by turns": 1}[name] // originals
			if got, want := storetest.Count(t, to), (storetest.Tally{Events: 2, Runs: 2, Jobs: 2, Redeliveries: kept}); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// recoverAt recovers the event of a delivery with another time.
func recoverAt(tb testing.TB, s *store.Store, d store.Delivery, at int64) {
	tb.Helper()
	err := pgx.BeginFunc(tb.Context(), s.Pool(), func(tx pgx.Tx) error {
		_, err := s.RecoverTx(tb.Context(), tx, store.Recovery{RecoveredAt: time.Now(), Payload: fmt.Appendf(nil,
			`{"event":{"event_time":%d,"event_type":%q},"signature_request":{"signature_request_id":%q},"recovered":{}}`,
			at, string(d.Envelope.EventType), d.Envelope.SignatureRequestID)})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// An import that is interrupted anywhere goes on when it is repeated.
func TestInterruptedImport(t *testing.T) {
	t.Parallel()
	from := storetest.New(t)
	var all []store.Delivery
	for n := range 450 {
		all = append(all, storetest.Delivery(n))
	}
	storetest.Record(t, from, all...)
	text := strings.Join(export(t, from, true), "\n") + "\n"
	to := storetest.New(t)
	storetest.Register(t, to, "book")
	for _, part := range []int{3, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		i := transfer.Importer{Store: to, Runs: true, Progress: func(transfer.Result) { cancel() }}
		if _, err := i.Import(ctx, io.MultiReader(strings.NewReader(text[:len(text)/part]), errorReader{ctx})); err == nil {
			t.Error("an interrupted import reports no error")
		}
	}
	mustImport(t, to, strings.Split(text, "\n"), true)
	if got, want := storetest.Count(t, to), (storetest.Tally{Events: 450, Runs: 450, Jobs: 450}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := contents(t, to), contents(t, from); got != want {
		t.Error("the databases differ")
	}
}

// errorReader fails, like a connection that is lost.
type errorReader struct{ context.Context }

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// lumin_admin has the rights that an import needs.
func TestImportAsAdmin(t *testing.T) {
	t.Parallel()
	lines := export(t, old(t), false)
	address := pgtest.New(t)
	pgtest.UseRoles(t, address)
	to := storetest.On(t, pgtest.Pool(t, pgtest.Login(t, address, migrations.Admin)))
	if _, err := catalog.AddJobTypes(t.Context(), pgtest.Pool(t, address), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	if result := mustImport(t, to, lines, true); result.Imported != int64(len(lines)) || result.Runs == 0 {
		t.Errorf("%+v", result)
	}
}

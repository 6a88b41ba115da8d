package archive_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/archive"
	"lumin-ingest/store/internal/storetest"
)

func archivedFile(n int) archive.File {
	return archive.File{
		EventKey: lumin.EventKey{byte(n), 7}, FileType: lumin.FileAgreement, SignatureRequestID: fmt.Sprintf("request-%d", n),
		Bucket: "s3://contracts", ObjectKey: fmt.Sprintf("request-%d/agreement.pdf", n), SHA256: sha256.Sum256([]byte{byte(n)}), Size: int64(1000 + n),
	}
}

func addArchived(tb testing.TB, s *store.Store, f archive.File) {
	tb.Helper()
	if err := errors.Join(archive.Begin(tb.Context(), s.Pool(), f), archive.Finish(tb.Context(), s.Pool(), f)); err != nil {
		tb.Fatal(err)
	}
}

func TestArchivedFile(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	f := archivedFile(1)
	has := func(f archive.File) bool {
		t.Helper()
		found, err := archive.Has(t.Context(), s.Pool(), f.EventKey, f.FileType, f.Rerun)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if has(f) {
		t.Error("Has finds a file before it was added")
	}
	if err := archive.Finish(t.Context(), s.Pool(), f); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Finish without Begin: %v", err)
	}
	before := f
	before.ObjectKey = "key-of-the-interrupted-attempt"
	for _, f := range []archive.File{before, f} {
		if err := archive.Begin(t.Context(), s.Pool(), f); err != nil {
			t.Fatal(err)
		}
		if has(f) {
			t.Error("Has finds a file before the bucket has it")
		}
	}
	for range 2 {
		addArchived(t, s, f)
	}
	other := f
	other.ObjectKey = "other-key" // the first key stays
	if err := archive.Begin(t.Context(), s.Pool(), other); err != nil {
		t.Fatal(err)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE object_key = 'request-1/agreement.pdf'`); n != 1 {
		t.Errorf("%d rows", n)
	}
	if !has(f) {
		t.Error("Has does not find the file")
	}
	for _, change := range []func(*archive.File){
		func(f *archive.File) { f.EventKey[0]++ }, func(f *archive.File) { f.FileType = lumin.FileCoC }, func(f *archive.File) { f.Rerun++ },
	} {
		other := f
		if change(&other); has(other) {
			t.Errorf("Has finds %+v", other)
		}
		if addArchived(t, s, other); !has(other) {
			t.Errorf("Has does not find %+v", other)
		}
	}
}

func listErased(tb testing.TB, s *store.Store, after archive.File, limit int) []archive.File {
	tb.Helper()
	files, err := archive.ListErased(tb.Context(), s.Pool(), "s3://contracts", after, limit)
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

func TestErasedArchivedFiles(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var want []archive.File
	for n := range 10 {
		f := archivedFile(n)
		if n == 3 {
			f.Bucket = "s3://others"
		}
		addArchived(t, s, f)
		if n != 3 && n != 5 {
			want = append(want, f)
		}
	}
	if got := listErased(t, s, archive.File{}, 10); len(got) != 0 {
		t.Errorf("listed %+v, want no files", got)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.archived_files SET erasure_id = 1 WHERE signature_request_id <> 'request-5'`)
	var got []archive.File
	for page := listErased(t, s, archive.File{}, 3); len(page) > 0; page = listErased(t, s, page[len(page)-1], 3) {
		if len(page) > 3 {
			t.Errorf("%d files in a page of 3", len(page))
		}
		got = append(got, page...)
	}
	listed := slices.Clone(got)
	for i := range got {
		if time.Since(*got[i].ArchivedAt).Abs() > time.Hour {
			t.Errorf("archived at %v", got[i].ArchivedAt)
		}
		got[i].ArchivedAt = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	// A file that is written again after it was listed stays for the next list.
	addArchived(t, s, listed[0])
	for i, f := range listed {
		if removed, err := archive.Remove(t.Context(), s.Pool(), f); err != nil || removed != (i > 0) {
			t.Errorf("%s: removed %t, %v", f.SignatureRequestID, removed, err)
		}
	}
	kept := archivedFile(5) // not marked by an erasure
	kept.ArchivedAt = storetest.Value[*time.Time](t, s.Pool(), `SELECT archived_at FROM lumin.archived_files WHERE signature_request_id = 'request-5'`)
	if removed, err := archive.Remove(t.Context(), s.Pool(), kept); err != nil || removed {
		t.Errorf("removed %t, %v", removed, err)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE signature_request_id IN ('request-3', 'request-5')`); n != 2 {
		t.Errorf("%d of the other rows remain", n)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files`); n != 3 {
		t.Errorf("%d rows remain", n)
	}
}

// Neither Has nor ListErased reads the whole table, and Remove reads only the
// running jobs of River's.
func TestArchivedFilePlans(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.archived_files (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes, erasure_id)
		SELECT md5(n::text)::uuid, 'agreement', 0, 'request-' || n, 's3://contracts', n::text, sha256('x'), 1, CASE WHEN n % 1000 = 0 THEN 1 END
		FROM generate_series(1, 20000) n`)
	storetest.Exec(t, s.Pool(), `ANALYZE lumin.archived_files`)
	storetest.Fill(t, s.Pool(), 1, 20000)
	for _, query := range []struct {
		sql, index string
		args       []any
	}{
		{archive.HasSQL, "archived_files_pkey", []any{[16]byte{1}, "agreement", 0}},
		{archive.ListErasedSQL, "archived_files_erasure_idx", []any{"s3://contracts", [16]byte{}, "", 0, 100}},
		{archive.RemoveSQL, "river_job_prioritized_fetching_index", []any{[16]byte{1}, "agreement", 0, "s3://contracts", nil}},
	} {
		rows, err := s.Pool().Query(t.Context(), `EXPLAIN `+query.sql, query.args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if plan := strings.Join(lines, "\n"); strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, query.index) {
			t.Errorf("%s\n%s", query.sql, plan)
		}
	}
}

// The row of an unfinished file stays while a job may still write the file.
func TestRemoveUnfinishedArchivedFile(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	f := archivedFile(1)
	if err := archive.Begin(t.Context(), s.Pool(), f); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.archived_files SET erasure_id = 1`)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.river_job (args, kind, max_attempts, queue, state)
		VALUES (jsonb_build_object('event_key', $1::uuid, 'replay_id', 0), 'archive_contract', 3, 'archive', 'running')`, [16]byte(f.EventKey))
	for _, want := range []bool{false, true} {
		if removed, err := archive.Remove(t.Context(), s.Pool(), f); err != nil || removed != want {
			t.Errorf("removed %t, %v; want %t", removed, err, want)
		}
		storetest.Exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	}
}

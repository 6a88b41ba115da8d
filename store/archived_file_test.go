package store_test

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
)

func archivedFile(n int) store.ArchivedFile {
	return store.ArchivedFile{
		EventKey: lumin.EventKey{byte(n), 7}, FileType: lumin.FileAgreement, SignatureRequestID: fmt.Sprintf("request-%d", n),
		Bucket: "s3://contracts", ObjectKey: fmt.Sprintf("request-%d/agreement.pdf", n), SHA256: sha256.Sum256([]byte{byte(n)}), Size: int64(1000 + n),
	}
}

func addArchived(tb testing.TB, s *store.Store, f store.ArchivedFile) {
	tb.Helper()
	if err := errors.Join(store.BeginArchivedFile(tb.Context(), s.Pool(), f), store.FinishArchivedFile(tb.Context(), s.Pool(), f)); err != nil {
		tb.Fatal(err)
	}
}

func TestArchivedFile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := archivedFile(1)
	has := func(f store.ArchivedFile) bool {
		t.Helper()
		found, err := store.HasArchivedFile(t.Context(), s.Pool(), f.EventKey, f.FileType, f.Rerun)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if has(f) {
		t.Error("it is there before it was added")
	}
	if err := store.FinishArchivedFile(t.Context(), s.Pool(), f); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without a beginning: %v", err)
	}
	before := f
	before.ObjectKey = "where the attempt before was cut off"
	for _, f := range []store.ArchivedFile{before, f} {
		if err := store.BeginArchivedFile(t.Context(), s.Pool(), f); err != nil {
			t.Fatal(err)
		}
		if has(f) {
			t.Error("it is there before the bucket has it")
		}
	}
	for range 2 {
		addArchived(t, s, f)
	}
	other := f
	other.ObjectKey = "elsewhere" // the first one stays
	if err := store.BeginArchivedFile(t.Context(), s.Pool(), other); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE object_key = 'request-1/agreement.pdf'`); n != 1 {
		t.Errorf("%d rows", n)
	}
	if !has(f) {
		t.Error("it is not there")
	}
	for _, change := range []func(*store.ArchivedFile){
		func(f *store.ArchivedFile) { f.EventKey[0]++ }, func(f *store.ArchivedFile) { f.FileType = lumin.FileCoC }, func(f *store.ArchivedFile) { f.Rerun++ },
	} {
		other := f
		if change(&other); has(other) {
			t.Errorf("%+v is there", other)
		}
		if addArchived(t, s, other); !has(other) {
			t.Errorf("%+v is not there", other)
		}
	}
}

func TestErasedArchivedFiles(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var want []store.ArchivedFile
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
	list := func(after store.ArchivedFile, limit int) []store.ArchivedFile {
		t.Helper()
		files, err := store.ErasedArchivedFiles(t.Context(), s.Pool(), "s3://contracts", after, limit)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	if got := list(store.ArchivedFile{}, 10); len(got) != 0 {
		t.Errorf("%+v, and nothing is to be erased", got)
	}
	exec(t, s.Pool(), `UPDATE lumin.archived_files SET erasure_id = 1 WHERE signature_request_id <> 'request-5'`)
	var got []store.ArchivedFile
	for page := list(store.ArchivedFile{}, 3); len(page) > 0; page = list(page[len(page)-1], 3) {
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
	// One is written once more after it was listed: another look is for that.
	addArchived(t, s, listed[0])
	for i, f := range listed {
		if removed, err := store.RemoveArchivedFile(t.Context(), s.Pool(), f); err != nil || removed != (i > 0) {
			t.Errorf("%s: removed %t, %v", f.SignatureRequestID, removed, err)
		}
	}
	kept := archivedFile(5) // which no erasure wants
	kept.ArchivedAt = value[*time.Time](t, s.Pool(), `SELECT archived_at FROM lumin.archived_files WHERE signature_request_id = 'request-5'`)
	if removed, err := store.RemoveArchivedFile(t.Context(), s.Pool(), kept); err != nil || removed {
		t.Errorf("removed %t, %v", removed, err)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files WHERE signature_request_id IN ('request-3', 'request-5')`); n != 2 {
		t.Errorf("%d of the others are left", n)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.archived_files`); n != 3 {
		t.Errorf("%d rows are left", n)
	}
}

// Neither looking for a file nor erasing a few reads the whole table.
func TestArchivedFilePlans(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	exec(t, s.Pool(), `
		INSERT INTO lumin.archived_files (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes, erasure_id)
		SELECT md5(n::text)::uuid, 'agreement', 0, 'request-' || n, 's3://contracts', n::text, sha256('x'), 1, CASE WHEN n % 1000 = 0 THEN 1 END
		FROM generate_series(1, 20000) n`)
	exec(t, s.Pool(), `ANALYZE lumin.archived_files`)
	for _, query := range []struct {
		sql, index string
		args       []any
	}{
		{store.HasArchivedFileSQL, "archived_files_pkey", []any{[16]byte{1}, "agreement", 0}},
		{store.ErasedArchivedFilesSQL, "archived_files_erasure_idx", []any{"s3://contracts", [16]byte{}, "", 0, 100}},
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

// What is not there yet may come, as long as a job is at work on it.
func TestRemoveUnfinishedArchivedFile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := archivedFile(1)
	if err := store.BeginArchivedFile(t.Context(), s.Pool(), f); err != nil {
		t.Fatal(err)
	}
	exec(t, s.Pool(), `UPDATE lumin.archived_files SET erasure_id = 1`)
	exec(t, s.Pool(), `
		INSERT INTO lumin.river_job (args, kind, max_attempts, queue, state)
		VALUES (jsonb_build_object('event_key', $1::uuid, 'replay_id', 0), 'archive_contract', 3, 'archive', 'running')`, [16]byte(f.EventKey))
	for _, want := range []bool{false, true} {
		if removed, err := store.RemoveArchivedFile(t.Context(), s.Pool(), f); err != nil || removed != want {
			t.Errorf("removed %t, %v; want %t", removed, err, want)
		}
		exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	}
}

package archivecontract_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/archivecontract"
	"lumin-ingest/worker/jobs/internal/jobtest"
)

// A file is removed if an erasure removes its row while it is written.
func TestArchiveErasedMeanwhile(t *testing.T) {
	t.Parallel()
	buckets(t, func(t *testing.T, bucketURL string) {
		r := newArchiveRig(t, bucketURL)
		r.api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
		r.exec(t, `CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM lumin.archived_files; RETURN NULL; END $$`)
		r.exec(t, `CREATE TRIGGER gone AFTER INSERT ON lumin.archived_files FOR EACH STATEMENT EXECUTE FUNCTION gone()`)
		if err := r.job.Work(t.Context(), archiveEvent("a")); jobtest.Outcome(err) != "retried" {
			t.Error(err)
		}
		if keys := r.keys(t); len(keys) > 0 {
			t.Errorf("left behind: %q", keys)
		}
	})
}

func TestEraseArchived(t *testing.T) {
	t.Parallel()
	buckets(t, func(t *testing.T, bucketURL string) {
		r, pdf := newArchiveRig(t, bucketURL), luminapi.PDF(1000)
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			r.api.SetFile(id, lumin.FileAgreement, pdf)
			if err := r.job.Work(t.Context(), archiveEvent(id)); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := r.job.EraseArchived(t.Context()); n != 0 || err != nil {
			t.Errorf("%d of nothing, %v", n, err)
		}
		r.erasing(t, "a", "b", "d", "e")
		// b has the remains of a crashed attempt but no object. e is missing
		// for no known reason.
		b, e := agreementKey(archiveEvent("b")), agreementKey(archiveEvent("e"))
		if err := errors.Join(r.job.Bucket.Delete(t.Context(), b), r.job.Bucket.Delete(t.Context(), e),
			r.job.Bucket.WriteAll(t.Context(), b+".18eb.tmp", pdf, nil)); err != nil {
			t.Fatal(err)
		}
		r.exec(t, `UPDATE lumin.archived_files SET archived_at = NULL WHERE signature_request_id = 'b'`)
		r.exec(t, `UPDATE lumin.archived_files SET bucket = 'file:///elsewhere' WHERE signature_request_id = 'd'`)
		if n, err := r.job.EraseArchived(t.Context()); n != 2 || err == nil || !strings.Contains(err.Error(), "another bucket of the same name") {
			t.Errorf("%d erased, want 2; %v", n, err)
		}
		if keys, want := r.keys(t), []string{agreementKey(archiveEvent("c")), agreementKey(archiveEvent("d"))}; !slices.Equal(keys, want) {
			t.Errorf("%q, want %q", keys, want)
		}
		if n := r.count(t, `SELECT count(*) FROM lumin.archived_files WHERE signature_request_id IN ('c', 'd', 'e')`); n != 3 {
			t.Errorf("%d of the others' rows", n)
		}
		if n := r.count(t, `SELECT count(*) FROM lumin.archived_files`); n != 3 {
			t.Errorf("%d rows", n)
		}
	})
}

// One file on several pages cannot be removed; the others are.
func TestEraseArchivedPages(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := newArchiveRig(t, "file://"+directory+"?no_tmp_dir=1&metadata=skip")
	const files = 250
	r.exec(t, `
		INSERT INTO lumin.archived_files (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes, erasure_id)
		SELECT gen_random_uuid(), 'agreement', 0, 'a', $1, 'a/' || n || '.pdf', sha256('x'), 1, 1 FROM generate_series(1, $2) n`,
		"file://"+directory, files)
	// A folder that is not empty takes the place of the object.
	if err := r.job.Bucket.WriteAll(t.Context(), "a/7.pdf/x", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	n, err := r.job.EraseArchived(t.Context())
	if n != files-1 || err == nil {
		t.Errorf("%d erased, %v", n, err)
	}
	if left := r.count(t, `SELECT count(*) FROM lumin.archived_files WHERE object_key = 'a/7.pdf'`); left != 1 {
		t.Error("the row of a file that is still there is gone")
	}
	if err := r.job.Bucket.Delete(t.Context(), "a/7.pdf/x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := r.job.EraseArchived(ctx); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d erased, %v", n, err)
	}
}

// The rows of a bucket that does not exist stay.
func TestEraseArchivedNoBucket(t *testing.T) {
	t.Parallel()
	_, bucketURL := fakeS3(t)
	wrong := strings.Replace(bucketURL, "s3://contracts", "s3://missing", 1)
	r := newArchiveRig(t, wrong)
	r.exec(t, `
		INSERT INTO lumin.archived_files (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes, erasure_id)
		VALUES (gen_random_uuid(), 'agreement', 0, 'a', $1, 'a/1.pdf', sha256('x'), 1, 1)`, archivecontract.BucketName(wrong))
	if n, err := r.job.EraseArchived(t.Context()); n != 0 || err == nil {
		t.Errorf("%d erased, %v", n, err)
	} else {
		noSecrets(t, fmt.Sprint(err))
	}
	if n := r.count(t, `SELECT count(*) FROM lumin.archived_files`); n != 1 {
		t.Errorf("%d rows", n)
	}
}

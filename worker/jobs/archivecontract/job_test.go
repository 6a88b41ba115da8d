package archivecontract_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/archivecontract"
)

func TestArchive(t *testing.T) {
	t.Parallel()
	buckets(t, func(t *testing.T, bucketURL string) {
		r := newArchiveRig(t, bucketURL)
		r.job.Files = []lumin.FileType{lumin.FileAgreement, lumin.FileCoC}
		agreement, certificate := luminapi.PDF(300_000), luminapi.PDF(1000)
		r.api.SetFile("fa5c8a0b", lumin.FileAgreement, agreement)
		r.api.SetFile("fa5c8a0b", lumin.FileCoC, certificate)
		r.api.SetRequest("fa5c8a0b", map[string]any{"status": "APPROVED"})
		if got := r.run(t, "fa5c8a0b"); got != (outcome{state: "succeeded", attempts: 1}) {
			t.Errorf("%+v", got)
		}
		key := archiveEvent("fa5c8a0b").IdempotencyKey()
		r.wantArchived(t, map[string][]byte{"fa5c8a0b/agreement-" + key + ".pdf": agreement, "fa5c8a0b/coc-" + key + ".pdf": certificate})
		bucket := archivecontract.BucketName(bucketURL)
		if n := r.count(t, `SELECT count(*) FROM lumin.archived_files WHERE bucket = $1 AND signature_request_id = 'fa5c8a0b' AND erasure_id IS NULL`, bucket); n != 2 {
			t.Errorf("%d rows are right", n)
		}
		if n := len(r.api.Requests(luminapi.Details)); n != 0 {
			t.Errorf("details_url was fetched %d times", n)
		}
	})
}

// A second call does nothing, unless it belongs to another replay.
func TestArchiveTwice(t *testing.T) {
	t.Parallel()
	buckets(t, func(t *testing.T, bucketURL string) {
		r, e, pdf := newArchiveRig(t, bucketURL), archiveEvent("a"), luminapi.PDF(1000)
		r.api.SetFile("a", lumin.FileAgreement, pdf)
		for range 2 {
			if err := r.job.Work(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(r.api.Requests(luminapi.API)); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		r.wantArchived(t, map[string][]byte{agreementKey(e): pdf})
		again := *e
		again.Rerun = 1
		if err := r.job.Work(t.Context(), &again); err != nil {
			t.Fatal(err)
		}
		r.wantArchived(t, map[string][]byte{agreementKey(e): pdf, agreementKey(&again): pdf})
	})
}

// An object without a finished row, as a crash leaves it, is overwritten.
func TestArchiveCrash(t *testing.T) {
	t.Parallel()
	buckets(t, func(t *testing.T, bucketURL string) {
		r, e, pdf := newArchiveRig(t, bucketURL), archiveEvent("a"), luminapi.PDF(1000)
		r.api.SetFile("a", lumin.FileAgreement, pdf)
		r.exec(t, `CREATE SEQUENCE calls`)
		r.exec(t, `CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF nextval('public.calls') = 1 THEN RAISE 'crash'; END IF; RETURN NEW; END $$`)
		r.exec(t, `CREATE TRIGGER crash BEFORE UPDATE ON lumin.archived_files FOR EACH ROW EXECUTE FUNCTION crash()`)
		if got := r.run(t, "a"); got.state != "succeeded" || got.attempts != 2 || !strings.Contains(got.errors, "crash") {
			t.Errorf("%+v", got)
		}
		r.wantArchived(t, map[string][]byte{agreementKey(e): pdf})
	})
}

// Attempts overlap and receive different bytes. The row has the hash of the
// object.
func TestArchiveOverlap(t *testing.T) {
	t.Parallel()
	r := newArchiveRig(t, fileBucket(t))
	r.exec(t, `CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(random() / 20); RETURN NEW; END $$`)
	r.exec(t, `CREATE TRIGGER dawdle BEFORE UPDATE ON lumin.archived_files FOR EACH ROW EXECUTE FUNCTION dawdle()`)
	for n := range 10 {
		id := fmt.Sprintf("id-%d", n)
		e := archiveEvent(id)
		var group sync.WaitGroup
		for i := range 4 {
			r.api.Next(luminapi.Answer("application/pdf", string(luminapi.PDF(1000+i))))
			group.Go(func() { _ = r.job.Work(t.Context(), e) })
		}
		group.Wait()
		object, err := r.job.Bucket.ReadAll(t.Context(), agreementKey(e))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(object)
		if n := r.count(t, `SELECT count(*) FROM lumin.archived_files WHERE signature_request_id = $1 AND sha256 = $2 AND archived_at IS NOT NULL`, id, sum[:]); n != 1 {
			t.Errorf("%s: %d rows are right", id, n)
		}
	}
}

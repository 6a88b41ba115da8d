package archivecontract_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/archivecontract"
	"lumin-ingest/worker/jobs/internal/jobtest"
)

// archiveRig is a job type with Lumin on one side and a bucket on the other.
type archiveRig struct {
	api  *luminapi.Server
	pool *pgxpool.Pool
	job  archivecontract.JobType
}

func newArchiveRig(t *testing.T, bucketURL string) *archiveRig {
	t.Helper()
	bucket, err := blob.OpenBucket(context.Background(), bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	r := &archiveRig{api: luminapi.New(), pool: jobtest.Pool(t)}
	t.Cleanup(r.api.Close)
	r.job = archivecontract.JobType{Lumin: r.api.Client(), Bucket: bucket, BucketURL: bucketURL, DB: r.pool}
	return r
}

func fileBucket(t *testing.T) string { return "file://" + t.TempDir() + "?no_tmp_dir=1&metadata=skip" }

// fakeS3 starts an S3-compatible server, and returns it with the URL of its
// bucket.
func fakeS3(t *testing.T) (*httptest.Server, string) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("contracts"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	query := url.Values{
		"endpoint": {server.URL}, "region": {"us-east-1"}, "use_path_style": {"true"}, "hostname_immutable": {"true"}, "anonymous": {"true"},
	}
	return server, "s3://contracts?" + query.Encode()
}

// buckets calls test with a bucket of each kind.
func buckets(t *testing.T, test func(t *testing.T, bucketURL string)) {
	for name, open := range map[string]func(t *testing.T) string{
		"file": fileBucket,
		"mem":  func(*testing.T) string { return "mem://" },
		"s3":   func(t *testing.T) string { _, bucketURL := fakeS3(t); return bucketURL },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// quickArchive is the job type with hardly any time between its attempts.
type quickArchive struct{ archivecontract.JobType }

func (quickArchive) MaxAttempts() int          { return 3 }
func (quickArchive) Backoff(int) time.Duration { return time.Millisecond }

// outcome is the result of a run.
type outcome struct {
	state    string
	attempts int
	errors   string // of all attempts
}

// run records the event of a signature request and returns the result of its
// run in the real runtime.
func (r *archiveRig) run(t *testing.T, id string) outcome {
	t.Helper()
	registry := worker.NewRegistry()
	registry.Add(quickArchive{r.job})
	rig := jobtest.New(t, r.pool, registry, slog.LevelError+1, 4)
	rig.Record(t, jobtest.Payload(7, lumin.SignatureRequestDownloadable, id, `"title":"T"`))
	return r.settled(t)
}

// settled waits for the only run to end.
func (r *archiveRig) settled(t *testing.T) (o outcome) {
	t.Helper()
	ended := func() bool {
		return r.pool.QueryRow(context.Background(), `
			SELECT r.state, j.attempt, concat_ws(' ', r.error, array_to_string(j.errors, ' '))
			FROM lumin.runs r JOIN lumin.river_job j ON j.kind = r.job_kind
			WHERE j.state IN ('completed', 'discarded', 'cancelled')`).Scan(&o.state, &o.attempts, &o.errors) == nil
	}
	wait.Until(t, "the run ends", ended)
	return o
}

// keys are the objects in the bucket.
func (r *archiveRig) keys(t *testing.T) (keys []string) {
	t.Helper()
	list := r.job.Bucket.List(nil)
	for {
		object, err := list.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return keys
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
}

// wantArchived fails the test unless the bucket has exactly these objects, each
// with a row.
func (r *archiveRig) wantArchived(t *testing.T, want map[string][]byte) {
	t.Helper()
	if keys := r.keys(t); len(keys) != len(want) {
		t.Errorf("objects %q, want %d", keys, len(want))
	}
	if n := r.count(t, `SELECT count(*) FROM lumin.archived_files`); n != len(want) {
		t.Errorf("%d rows, want %d", n, len(want))
	}
	for key, content := range want {
		got, err := r.job.Bucket.ReadAll(context.Background(), key)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes of %d, %v", key, len(got), len(content), err)
		}
		sum := sha256.Sum256(content)
		if n := r.count(t, `SELECT count(*) FROM lumin.archived_files WHERE object_key = $1 AND sha256 = $2 AND size_bytes = $3`, key, sum[:], len(content)); n != 1 {
			t.Errorf("%s has %d rows", key, n)
		}
	}
}

func (r *archiveRig) count(t *testing.T, sql string, args ...any) int {
	t.Helper()
	return jobtest.Count(t, r.pool, sql, args...)
}

func (r *archiveRig) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := r.pool.Exec(context.Background(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// archiveEvent returns an event as a run of the job type receives it.
func archiveEvent(id string) *worker.Event {
	envelope := lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestDownloadable, EventTime: time.UnixMilli(7).UTC()}
	return &worker.Event{
		ID: 1, Key: envelope.Key(), Source: "account", SignatureRequestID: id, Type: envelope.EventType, Time: envelope.EventTime,
		ReceivedAt: time.Now(), JobKind: "archive_contract",
	}
}

func agreementKey(e *worker.Event) string {
	return e.SignatureRequestID + "/agreement-" + e.IdempotencyKey() + ".pdf"
}

// noSecrets fails the test if a text contains a secret.
func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{"canary", "ada@", "token=", "?x-id"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q contains %q", text, secret)
		}
	}
}

// erasing marks the files of these signature requests as an erasure does.
func (r *archiveRig) erasing(t *testing.T, ids ...string) {
	t.Helper()
	r.exec(t, `UPDATE lumin.archived_files SET erasure_id = 1 WHERE signature_request_id = ANY ($1)`, ids)
}

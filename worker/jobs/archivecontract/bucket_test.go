package archivecontract_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/archivecontract"
	"lumin-ingest/worker/jobs/internal/jobtest"
)

// Signed files are confidential. No other user of the machine can read them at
// any time, and no other files are left beside them.
func TestArchivePrivateFiles(t *testing.T) {
	t.Parallel()
	bucketURL := fileBucket(t)
	r, e := newArchiveRig(t, bucketURL), archiveEvent("a")
	r.api.SetFile("a", lumin.FileAgreement, luminapi.PDF(100_000))
	if err := r.job.Work(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	folder, err := url.Parse(bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(folder.Path, "a"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%s has mode %v, %v", entries[0].Name(), info.Mode(), err)
	}
}

// An interrupted download stores nothing and leaves an existing object
// unchanged.
func TestArchiveTruncated(t *testing.T) {
	t.Parallel()
	buckets(t, func(t *testing.T, bucketURL string) {
		r, e, pdf := newArchiveRig(t, bucketURL), archiveEvent("a"), luminapi.PDF(200_000)
		r.api.SetFile("a", lumin.FileAgreement, pdf)
		r.api.UseLinks(false)
		for _, fault := range []luminapi.Fault{luminapi.Truncated(), luminapi.TruncatedWithoutLength()} {
			r.api.Next(fault)
			if err := r.job.Work(t.Context(), e); !errors.Is(err, io.ErrUnexpectedEOF) || jobtest.Outcome(err) != "retried" {
				t.Errorf("%s: %v", jobtest.Outcome(err), err)
			}
		}
		r.wantArchived(t, nil)
		if err := r.job.Bucket.WriteAll(t.Context(), agreementKey(e), []byte("before"), nil); err != nil {
			t.Fatal(err)
		}
		r.api.Next(luminapi.Truncated())
		if err := r.job.Work(t.Context(), e); err == nil {
			t.Error("no error")
		}
		if got, err := r.job.Bucket.ReadAll(t.Context(), agreementKey(e)); string(got) != "before" {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if got := r.run(t, "a"); got.state != "succeeded" {
			t.Errorf("%+v", got)
		}
		r.wantArchived(t, map[string][]byte{agreementKey(e): pdf})
	})
}

// Large files are sent to S3 in parts. No parts may be left after a failure.
func TestArchiveTruncatedParts(t *testing.T) {
	t.Parallel()
	server, bucketURL := fakeS3(t)
	r, e, pdf := newArchiveRig(t, bucketURL), archiveEvent("a"), luminapi.PDF(40<<20)
	r.api.SetFile("a", lumin.FileAgreement, pdf)
	r.api.UseLinks(false)
	r.api.Next(luminapi.Truncated())
	if err := r.job.Work(t.Context(), e); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	r.wantArchived(t, nil)
	resp, err := http.Get(server.URL + "/contracts?uploads")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	left, err := io.ReadAll(resp.Body)
	if err != nil || bytes.Contains(left, []byte("<UploadId>")) { // of none it says 404
		t.Errorf("%d %s, %v", resp.StatusCode, left, err)
	}
	if err := r.job.Work(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r.wantArchived(t, map[string][]byte{agreementKey(e): pdf})
}

// Unusual ids stay within the bucket, and different ids get different folders.
func TestArchiveOddIDs(t *testing.T) {
	t.Parallel()
	r := newArchiveRig(t, fileBucket(t))
	want := map[string][]byte{}
	for i, id := range []string{"a/b", "a b", "é", ".a", strings.Repeat("x", 129), "A_-9", strings.Repeat("x", 128), "a\n"} {
		e, pdf := archiveEvent(id), luminapi.PDF(1000+i)
		r.api.SetFile(id, lumin.FileAgreement, pdf)
		folder := id
		if len(id) != 128 && id != "A_-9" {
			sum := sha256.Sum256([]byte(id))
			folder = hex.EncodeToString(sum[:])
		}
		err := r.job.Work(t.Context(), e)
		if err != nil {
			t.Errorf("%q: %v", id, err)
		}
		want[folder+"/agreement-"+e.IdempotencyKey()+".pdf"] = pdf
	}
	r.wantArchived(t, want)
}

// Bucket errors are retried and reveal no secrets.
func TestArchiveBucketDown(t *testing.T) {
	t.Parallel()
	server, bucketURL := fakeS3(t)
	r := newArchiveRig(t, bucketURL)
	r.api.SetFile("a", lumin.FileAgreement, luminapi.PDF(1000))
	if err := r.job.Bucket.Close(); err != nil {
		t.Fatal(err)
	}
	err := r.job.Work(t.Context(), archiveEvent("a"))
	if jobtest.Outcome(err) != "retried" {
		t.Error(err)
	}
	server.Close()
	r.job.Bucket, err = blob.OpenBucket(t.Context(), bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	err = r.job.Work(t.Context(), archiveEvent("a"))
	if jobtest.Outcome(err) != "retried" {
		t.Fatal(err)
	}
	noSecrets(t, err.Error())
	if n := r.count(t, `SELECT count(*) FROM lumin.archived_files WHERE archived_at IS NOT NULL`); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Stopping the program ends a download, and the job returns the context's
// error.
func TestArchiveStopped(t *testing.T) {
	t.Parallel()
	r := newArchiveRig(t, fileBucket(t))
	r.job.Files = []lumin.FileType{lumin.FileAgreement, lumin.FileAgreement}
	r.api.SetFile("a", lumin.FileAgreement, luminapi.PDF(100_000))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.api.NextLink(func(s *luminapi.Server, w http.ResponseWriter, req *http.Request, next http.Handler) {
		cancel()
		luminapi.Stalled()(s, w, req, next)
	})
	if err := r.job.Work(ctx, archiveEvent("a")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := len(r.api.Requests(luminapi.API)); n != 1 {
		t.Errorf("%d requests after the stop", n-1)
	}
	r.wantArchived(t, nil)
}

// The name of a bucket contains no credentials.
func TestBucketName(t *testing.T) {
	t.Parallel()
	for bucketURL, want := range map[string]string{
		"file:///archive?no_tmp_dir=1":                         "file:///archive",
		"file:///archive":                                      "file:///archive",
		"file:///archive/":                                     "file:///archive",
		"s3://contracts?region=us-east-1&endpoint=http://x/":   "s3://contracts?endpoint=http://x",
		"s3://contracts?prefix=a/b/":                           "s3://contracts/a/b/",
		"s3://contracts?prefix=a&region=x":                     "s3://contracts/a",
		"azblob://canary:canary@contracts?sas=canary#fragment": "azblob://contracts",
		"s3://con tracts?token=canary":                         "unknown",
		"mem://":                                               "mem://",
	} {
		if got := archivecontract.BucketName(bucketURL); got != want {
			t.Errorf("%s: %s, want %s", bucketURL, got, want)
		}
	}
}

// S3 is used with credentials from the environment, so this test is not
// parallel.
func TestArchiveToS3WithCredentials(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "canary-access", "AWS_SECRET_ACCESS_KEY": "canary-secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	_, bucketURL := fakeS3(t)
	bucketURL = strings.Replace(bucketURL, "anonymous=true", "prefix=archive/", 1)
	r, e, pdf := newArchiveRig(t, bucketURL), archiveEvent("a"), luminapi.PDF(1000)
	r.api.SetFile("a", lumin.FileAgreement, pdf)
	if err := r.job.Work(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r.wantArchived(t, map[string][]byte{agreementKey(e): pdf})
	r.erasing(t, "a")
	if n, err := r.job.EraseArchived(t.Context()); n != 1 || err != nil {
		t.Errorf("%d erased, %v", n, err)
	}
	r.wantArchived(t, nil)
}

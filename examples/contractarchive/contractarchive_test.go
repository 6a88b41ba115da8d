package contractarchive_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lumin-examples/contractarchive"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/workertest"
)

// newAPI starts a stand-in for the file endpoint of Lumin's API and returns a
// client for it. The first requests get the given statuses.
func newAPI(t *testing.T, statuses ...int) *lumin.Client {
	t.Helper()
	next := make(chan int, len(statuses))
	for _, status := range statuses {
		next <- status
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case status := <-next:
			w.WriteHeader(status)
			return
		default:
		}
		if r.Header.Get("X-API-Key") != "key" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/pdf")
		_, _ = fmt.Fprintf(w, "%%PDF-1.7 %s %s", r.URL.Path, r.URL.Query().Get("type"))
	}))
	t.Cleanup(server.Close)
	client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: server.URL, APIKey: "key"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func open(t *testing.T, db *workertest.Database, client *lumin.Client) contractarchive.Archive {
	t.Helper()
	archive, err := contractarchive.Open(t.Context(), client, db.Pool, "file://"+t.TempDir()+"?metadata=skip&no_tmp_dir=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = archive.Bucket.Close() })
	return archive
}

// files returns the names and contents of the objects in the bucket.
func files(t *testing.T, archive contractarchive.Archive) func() []string {
	return func() (found []string) {
		t.Helper()
		for list := archive.Bucket.List(nil); ; {
			object, err := list.Next(t.Context())
			if err == io.EOF {
				return found
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := archive.Bucket.ReadAll(t.Context(), object.Key)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, object.Key+": "+string(content))
		}
	}
}

// id is the id of the archived signature request.
const id = "fa5c8a0b0f492d76"

func downloadable() workertest.Event {
	return workertest.Event{Type: lumin.SignatureRequestDownloadable, SignatureRequestID: id}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t)
	archive := open(t, db, newAPI(t, http.StatusServiceUnavailable))
	result := workertest.Twice(t, db, archive, downloadable(), files(t, archive))
	got := files(t, archive)()
	if len(got) != 2 {
		t.Fatalf("archived %q", got)
	}
	for i, kind := range []string{"agreement", "coc"} {
		want := fmt.Sprintf("%s/%s-%s.pdf: %%PDF-1.7 /signature_request/%s/file %s", id, kind, result.Event.IdempotencyKey(), id, kind)
		if got[i] != want {
			t.Errorf("archived %q, want %q", got[i], want)
		}
	}
	if len(result.Snoozes) != 1 {
		t.Errorf("Lumin was busy once, so want one snooze, got %v", result.Snoozes)
	}
}

// A file that Lumin does not know fails at once: retries would not help.
func TestArchiveUnknown(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t)
	result := db.Run(t, open(t, db, newAPI(t, http.StatusNotFound)), downloadable())
	workertest.Failed(t, result, "404")
	if result.Attempts != 1 {
		t.Errorf("%d attempts", result.Attempts)
	}
}

func TestErasure(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t)
	archive := open(t, db, newAPI(t))
	workertest.Succeeded(t, db.Run(t, archive, downloadable()))
	registry := worker.NewRegistry()
	registry.AddPeriodic(archive.Erasure())
	if err := registry.Err(); err != nil {
		t.Error(err)
	}
	var erasure int64
	err := db.Pool.QueryRow(t.Context(), `
		INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason)
		VALUES ('signature_request', ARRAY[$1], '{}', 1, 'test') RETURNING id`, id).Scan(&erasure)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool.Exec(t.Context(), `UPDATE lumin.archived_files SET erasure_id = $1`, erasure); err != nil {
		t.Fatal(err)
	}
	if err := archive.Erasure().Work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := files(t, archive)(); len(got) > 0 {
		t.Errorf("not erased: %q", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	if _, err := contractarchive.Open(t.Context(), nil, nil, "file:///x"); err == nil || !strings.Contains(err.Error(), "LUMIN_API_KEY") {
		t.Error(err)
	}
	if _, err := contractarchive.Open(t.Context(), newAPI(t), nil, "gopher://x"); err == nil {
		t.Error("a bucket with an unknown scheme was opened")
	}
}

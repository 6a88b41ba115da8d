package archivecontract_test

import (
	"strings"
	"testing"
	"time"

	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/jobs/internal/jobtest"
)

// Lumin's responses decide the outcome of a run in the real runtime.
func TestArchiveRuns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		faults  []luminapi.Fault
		want    outcome
		waits   bool // for a second at least
		request int  // how many
	}{
		"put off":          {[]luminapi.Fault{luminapi.Status(429, "Retry-After", "1")}, outcome{state: "succeeded", attempts: 1}, true, 2},
		"not approved yet": {[]luminapi.Fault{luminapi.Status(409, "Retry-After", "1")}, outcome{state: "succeeded", attempts: 1}, true, 2},
		"one form only":    {[]luminapi.Fault{luminapi.Status(406)}, outcome{state: "succeeded", attempts: 1}, false, 2},
		"temporary": {[]luminapi.Fault{luminapi.Status(500), luminapi.Truncated()},
			outcome{state: "succeeded", attempts: 3, errors: "500"}, false, 3},
		"not known": {[]luminapi.Fault{luminapi.Status(404)}, outcome{state: "failed", attempts: 1, errors: "404"}, false, 1},
		"bad key": {[]luminapi.Fault{luminapi.Status(401), luminapi.Status(403), luminapi.Status(401)},
			outcome{state: "failed", attempts: 3, errors: "403"}, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, pdf := newArchiveRig(t, fileBucket(t)), luminapi.PDF(1000)
			r.api.SetFile("a", lumin.FileAgreement, pdf)
			r.api.Next(test.faults...)
			start := time.Now()
			got := r.run(t, "a")
			if got.state != test.want.state || got.attempts != test.want.attempts || !strings.Contains(got.errors, test.want.errors) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
			noSecrets(t, got.errors)
			if took := time.Since(start); test.waits && took < time.Second {
				t.Errorf("it took %s", took)
			}
			if n := len(r.api.Requests(luminapi.API)); n != test.request {
				t.Errorf("%d requests, want %d", n, test.request)
			}
			archived := map[string][]byte{}
			if got.state == "succeeded" {
				archived[agreementKey(archiveEvent("a"))] = pdf
			}
			r.wantArchived(t, archived)
		})
	}
}

func TestArchiveVerdict(t *testing.T) {
	t.Parallel()
	const retried, failed, done = "retried", "failed", "done"
	day, old := time.Duration(0), 25*time.Hour
	agreement, certificate, both := lumin.FileAgreement, lumin.FileCoC, lumin.FileMerged
	r := newArchiveRig(t, "mem://")
	for _, test := range []struct {
		name   string
		files  []lumin.FileType
		age    time.Duration
		faults []luminapi.Fault
		want   string
	}{
		{"400", nil, day, []luminapi.Fault{luminapi.Status(400)}, failed},
		{"404", nil, day, []luminapi.Fault{luminapi.Status(404)}, failed},
		{"410", nil, day, []luminapi.Fault{luminapi.Status(410)}, failed},
		{"422", nil, day, []luminapi.Fault{luminapi.Status(422)}, failed},
		{"401", nil, day, []luminapi.Fault{luminapi.Status(401)}, retried},
		{"402", nil, day, []luminapi.Fault{luminapi.Status(402)}, retried},
		{"403", nil, day, []luminapi.Fault{luminapi.Status(403)}, retried},
		{"409", nil, day, []luminapi.Fault{luminapi.Status(409)}, "1m0s"},
		{"409 for 7 s", nil, day, []luminapi.Fault{luminapi.Status(409, "Retry-After", "7")}, "7s"},
		{"409 after a while", nil, 5 * time.Hour, []luminapi.Fault{luminapi.Status(409)}, "30m0s"},
		{"409 after a long while", nil, 23 * time.Hour, []luminapi.Fault{luminapi.Status(409)}, "1h0m0s"},
		{"409 of an old event", nil, old, []luminapi.Fault{luminapi.Status(409)}, retried},
		{"406 in both forms", nil, day, []luminapi.Fault{luminapi.Status(406), luminapi.Status(406)}, retried},
		{"302", nil, day, []luminapi.Fault{luminapi.Status(302, "Location", "/")}, retried},
		{"500", nil, day, []luminapi.Fault{luminapi.Status(500)}, retried},
		{"429", nil, day, []luminapi.Fault{luminapi.Status(429)}, "1m0s"},
		{"429 for 7 s", nil, day, []luminapi.Fault{luminapi.Status(429, "Retry-After", "7")}, "7s"},
		{"429 for no time", nil, day, []luminapi.Fault{luminapi.Status(429, "Retry-After", "0")}, "1s"},
		{"503 for a day", nil, day, []luminapi.Fault{luminapi.Status(503, "Retry-After", "86400")}, "1h0m0s"},
		{"429 of an old event", nil, old, []luminapi.Fault{luminapi.Status(429, "Retry-After", "7")}, retried},
		{"503 of an old event", nil, old, []luminapi.Fault{luminapi.Status(503)}, retried},
		{"no certificate", []lumin.FileType{certificate}, day, []luminapi.Fault{luminapi.Status(404)}, retried},
		{"nothing merged", []lumin.FileType{both}, day, []luminapi.Fault{luminapi.Status(400)}, retried},
		{"two final ones", []lumin.FileType{agreement, agreement}, day, []luminapi.Fault{luminapi.Status(404), luminapi.Status(410)}, failed},
		{"final, and not", []lumin.FileType{agreement, certificate}, day, []luminapi.Fault{luminapi.Status(404), luminapi.Status(404)}, retried},
		{"final, and busy", []lumin.FileType{agreement, certificate}, day, []luminapi.Fault{luminapi.Status(404), luminapi.Status(429)}, "1m0s"},
		{"busy, and not", []lumin.FileType{agreement, certificate}, day, []luminapi.Fault{luminapi.Status(429), luminapi.Status(500)}, retried},
		{"busy twice", []lumin.FileType{agreement, certificate}, day,
			[]luminapi.Fault{luminapi.Status(429, "Retry-After", "7"), luminapi.Status(503, "Retry-After", "9")}, "9s"},
		{"not a PDF", nil, day, []luminapi.Fault{luminapi.Answer("text/html", "canary")}, retried},
		{"fine", nil, day, nil, done},
	} {
		e := archiveEvent("a")
		e.ReceivedAt = time.Now().Add(-test.age)
		r.exec(t, `DELETE FROM lumin.archived_files`)
		r.api.SetFile("a", agreement, luminapi.PDF(100))
		r.api.Next(test.faults...)
		r.job.Files = test.files
		err := r.job.Work(t.Context(), e)
		if got := jobtest.Outcome(err); got != test.want {
			t.Errorf("%s: %s, want %s: %v", test.name, got, test.want, err)
		}
		if err != nil {
			noSecrets(t, err.Error())
		}
	}
	r.job.Files = nil
	r.api.SetRequest("open", map[string]any{"status": "WAITING_FOR_OTHERS"})
	r.api.SetFile("open", agreement, luminapi.PDF(100))
	if got := jobtest.Outcome(r.job.Work(t.Context(), archiveEvent("open"))); got != "1m0s" {
		t.Errorf("a signature request that is not approved: %s", got)
	}
	if got := jobtest.Outcome(r.job.Work(t.Context(), archiveEvent(".."))); got != failed {
		t.Errorf("an id that leads elsewhere: %s", got)
	}
}

// A status from the signed link's host is not about the signature request.
func TestArchiveLinkVerdict(t *testing.T) {
	t.Parallel()
	r := newArchiveRig(t, "mem://")
	r.api.SetFile("a", lumin.FileAgreement, luminapi.PDF(100))
	for status, want := range map[int]string{404: "retried", 410: "retried", 403: "retried", 500: "retried", 503: "1m0s"} {
		r.api.NextLink(luminapi.Status(status))
		if status < 500 {
			r.api.NextLink(luminapi.Status(status)) // another link is asked for
		}
		err := r.job.Work(t.Context(), archiveEvent("a"))
		if got := jobtest.Outcome(err); got != want {
			t.Errorf("%d: %s, want %s: %v", status, got, want, err)
		}
	}
}

// A file that cannot be downloaded does not stop the others, in any attempt.
func TestArchiveSomeFiles(t *testing.T) {
	t.Parallel()
	r, e, pdf := newArchiveRig(t, fileBucket(t)), archiveEvent("a"), luminapi.PDF(1000)
	r.job.Files = []lumin.FileType{lumin.FileCoC, lumin.FileAgreement}
	r.api.SetFile("a", lumin.FileAgreement, pdf)
	if err := r.job.Work(t.Context(), e); jobtest.Outcome(err) != "retried" {
		t.Error(err)
	}
	r.wantArchived(t, map[string][]byte{agreementKey(e): pdf})
	r.api.SetFile("a", lumin.FileCoC, pdf)
	if err := r.job.Work(t.Context(), e); err != nil {
		t.Error(err)
	}
	r.wantArchived(t, map[string][]byte{agreementKey(e): pdf, "a/coc-" + e.IdempotencyKey() + ".pdf": pdf})
	if n := len(r.api.Requests(luminapi.API)); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

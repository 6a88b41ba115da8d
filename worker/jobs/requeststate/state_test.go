package requeststate_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lumin-ingest/internal/measure"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/jobtest"
	"lumin-ingest/worker/jobs/internal/merge"
	"lumin-ingest/worker/jobs/requeststate"
)

// happened is one event of a signature request: its time, its type, and the
// members of the signature_request object in its body.
type happened struct {
	at   int64 // milliseconds
	what lumin.EventType
	body string
}

func (h happened) payload(id string) []byte { return jobtest.Payload(h.at, h.what, id, h.body) }

func (h happened) event(t interface{ Fatal(...any) }, id string) (*worker.Event, lumin.SignatureRequest) {
	reported, err := lumin.DecodeSignatureRequest(h.payload(id))
	if err != nil {
		t.Fatal(err)
	}
	return &worker.Event{SignatureRequestID: id, Type: h.what, Time: time.UnixMilli(h.at).UTC(), Payload: h.payload(id)}, reported
}

// state formats a row of lumin.signature_requests.
func state(r signaturerequest.Row) string {
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return fmt.Sprintf("%q", *s)
	}
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return fmt.Sprint(t.UnixMilli())
	}
	return strings.Join([]string{text(r.Status), text(r.Title), text(r.Reason), text(r.SigningType), at(r.CreatedAt),
		at(r.UpdatedAt), at(r.ExpiresAt), text(r.LastEventType), at(r.LastEventTime)}, " ")
}

func merged(t interface{ Fatal(...any) }, events []happened) signaturerequest.Row {
	row := signaturerequest.Row{ID: "id"}
	for _, h := range events {
		e, reported := h.event(t, "id")
		merge.Event(&row, e, reported)
	}
	return row
}

// Every history is merged in its order and in reverse order.
func TestMerge(t *testing.T) {
	t.Parallel()
	const (
		created   = lumin.SignatureRequestCreated
		viewed    = lumin.SignatureRequestViewed
		signed    = lumin.SignatureRequestSigned
		dueDate   = lumin.SignatureRequestDueDateUpdated
		approved  = lumin.SignatureRequestApproved
		available = lumin.SignatureRequestDownloadable
		declined  = lumin.SignatureRequestDeclined
		canceled  = lumin.SignatureRequestCanceled
		notCancel = lumin.SignatureRequestCancelFailed
		invalid   = lumin.SignatureRequestInvalid
		sent      = lumin.EventType("signature_request_sent")
	)
	status := func(s string) string { return fmt.Sprintf(`"status":%q`, s) }
	for _, test := range []struct {
		name    string
		history []happened
		want    string // status title reason signing_type created updated expires last type, time
	}{
		{"one event", []happened{{5, created, `"title":"T","status":"NEED_TO_SIGN","signing_type":"ORDER","created_at":1,"updated_at":2,"expires_at":3`}},
			`"NEED_TO_SIGN" "T" - "ORDER" 1 2 3 "signature_request_created" 5`},
		{"an event without fields", []happened{{5, sent, ``}}, `- - - - - - - "signature_request_sent" 5`},
		{"the newest of each field", []happened{{5, created, `"title":"old","expires_at":1`}, {6, viewed, `"title":"new"`}, {7, signed, `"expires_at":9`}},
			`- "new" - - - - 9 "signature_request_signed" 7`},
		{"an absent field is kept", []happened{{5, created, `"title":"T","reason":"R","signing_type":"ORDER","created_at":1`}, {6, viewed, ``}},
			`- "T" "R" "ORDER" 1 - - "signature_request_viewed" 6`},
		{"an empty text is a value", []happened{{5, created, `"title":"T"`}, {6, viewed, `"title":""`}}, `- "" - - - - - "signature_request_viewed" 6`},
		{"null is no value", []happened{{5, created, `"title":"T","expires_at":4`}, {6, viewed, `"title":null,"expires_at":null`}},
			`- "T" - - - - 4 "signature_request_viewed" 6`},

		{"a newer status", []happened{{5, created, status("NEED_TO_SIGN")}, {6, signed, status("WAITING_FOR_OTHERS")}},
			`"WAITING_FOR_OTHERS" - - - - - - "signature_request_signed" 6`},
		{"terminal before a newer one that is not", []happened{{5, approved, status("APPROVED")}, {6, signed, status("WAITING_FOR_OTHERS")}},
			`"APPROVED" - - - - - - "signature_request_signed" 6`},
		{"terminal gives way to a newer terminal one", []happened{{5, approved, ``}, {6, canceled, ``}}, `"CANCELLED" - - - - - - "signature_request_canceled" 6`},
		{"an unknown status is not terminal", []happened{{5, declined, ``}, {6, viewed, status("EXPIRED")}}, `"REJECTED" - - - - - - "signature_request_viewed" 6`},

		{"approved implies", []happened{{5, approved, ``}}, `"APPROVED" - - - - - - "signature_request_approved" 5`},
		{"declined implies", []happened{{5, declined, ``}}, `"REJECTED" - - - - - - "signature_request_declined" 5`},
		{"canceled implies", []happened{{5, canceled, ``}}, `"CANCELLED" - - - - - - "signature_request_canceled" 5`},
		{"invalid implies", []happened{{5, invalid, `"message":"bad tags"`}}, `"FAILED" - "bad tags" - - - - "signature_request_invalid" 5`},
		{"cancel_failed implies nothing", []happened{{4, signed, status("WAITING_FOR_OTHERS")}, {5, notCancel, ``}},
			`"WAITING_FOR_OTHERS" - - - - - - "signature_request_cancel_failed" 5`},
		{"a status in the body comes first", []happened{{5, declined, status("WAITING_FOR_PROCESSING")}},
			`"WAITING_FOR_PROCESSING" - - - - - - "signature_request_declined" 5`},
		{"an empty status is ignored", []happened{{5, declined, status("")}}, `"REJECTED" - - - - - - "signature_request_declined" 5`},
		{"a status too long for the index is ignored", []happened{{5, declined, status(strings.Repeat("x", 256))}}, `"REJECTED" - - - - - - "signature_request_declined" 5`},

		{"created, viewed, signed, due date in one millisecond", []happened{
			{5, created, `"title":"1"`}, {5, sent, `"title":"2"`}, {5, viewed, `"title":"3"`}, {5, signed, `"title":"4"`}, {5, dueDate, `"title":"5"`}},
			`- "5" - - - - - "signature_request_due_date_updated" 5`},
		{"the terminal ones after them", []happened{
			{5, dueDate, `"title":"5"`}, {5, notCancel, `"title":"6"`}, {5, approved, `"title":"7"`}},
			`"APPROVED" "7" - - - - - "signature_request_approved" 5`},
		{"the last signature and the approval", []happened{{5, signed, status("WAITING_FOR_OTHERS")}, {5, approved, status("APPROVED")}, {5, available, status("APPROVED")}},
			`"APPROVED" - - - - - - "signature_request_downloadable" 5`},
		{"two unknown types in one millisecond", []happened{{5, "a", `"title":"a"`}, {5, "b", `"title":"b"`}}, `- "b" - - - - - "b" 5`},
		{"the range of times", []happened{{1, created, `"title":"old"`}, {253402300799999, viewed, `"title":"new"`}},
			`- "new" - - - - - "signature_request_viewed" 253402300799999`},
		{"times of different length", []happened{{999, created, `"title":"old"`}, {1000, created, `"title":"new"`}},
			`- "new" - - - - - "signature_request_created" 1000`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			backwards := slices.Clone(test.history)
			slices.Reverse(backwards)
			for _, history := range [][]happened{test.history, backwards, append(backwards, test.history...)} {
				if got := state(merged(t, history)); got != test.want {
					t.Errorf("%v\n got %s\nwant %s", history, got, test.want)
				}
			}
		})
	}
}

// order is the order of events in one millisecond per the documented rules.
func order(t lumin.EventType) int {
	known := []lumin.EventType{"signature_request_created", "", "signature_request_viewed", "signature_request_signed",
		"signature_request_due_date_updated", "signature_request_cancel_failed", "signature_request_approved", "signature_request_declined",
		"signature_request_invalid", "signature_request_canceled", "signature_request_downloadable"}
	if i := slices.Index(known, t); i >= 0 {
		return i
	}
	return 1 // undocumented
}

// model computes the expected result of a history in another way: it sorts the
// events and applies their values, the newest last.
func model(history []happened) string {
	sorted := slices.Clone(history)
	slices.SortFunc(sorted, func(a, b happened) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(order(a.what), order(b.what)), cmp.Compare(a.what, b.what))
	})
	implied := map[lumin.EventType]string{"signature_request_approved": "APPROVED", "signature_request_declined": "REJECTED",
		"signature_request_canceled": "CANCELLED", "signature_request_invalid": "FAILED"}
	var row signaturerequest.Row
	var final bool
	for _, h := range sorted {
		var body struct {
			Status, Title, Reason *string
			SigningType           *string `json:"signing_type"`
			ExpiresAt             *int64  `json:"expires_at"`
		}
		if err := json.Unmarshal([]byte("{"+h.body+"}"), &body); err != nil {
			panic(err)
		}
		what, at := string(h.what), time.UnixMilli(h.at)
		row.LastEventType, row.LastEventTime = &what, &at
		row.Title, row.Reason, row.SigningType = cmp.Or(body.Title, row.Title), cmp.Or(body.Reason, row.Reason), cmp.Or(body.SigningType, row.SigningType)
		if body.ExpiresAt != nil {
			expires := time.UnixMilli(*body.ExpiresAt)
			row.ExpiresAt = &expires
		}
		status := body.Status
		if s, ok := implied[h.what]; status == nil && ok {
			status = &s
		}
		if status == nil {
			continue
		}
		ends := slices.Contains([]string{"APPROVED", "REJECTED", "FAILED", "CANCELLED"}, *status)
		if ends || !final {
			row.Status, final = status, final || ends
		}
	}
	return state(row)
}

// history draws events that differ in time or type, with a few per millisecond.
func history(t *rapid.T) []happened {
	types := append(lumin.EventTypes(), "signature_request_sent", "a_new_one")
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) happened {
		h := happened{at: rapid.Int64Range(998, 1002).Draw(t, "at"), what: rapid.SampledFrom(types).Draw(t, "what")}
		var members []string
		for _, name := range []string{"title", "reason", "signing_type"} {
			if rapid.Bool().Draw(t, name) {
				members = append(members, fmt.Sprintf("%q:%q", name, rapid.StringMatching(`[a-z]{0,3}`).Draw(t, name)))
			}
		}
		if rapid.Bool().Draw(t, "expires") {
			members = append(members, fmt.Sprintf(`"expires_at":%d`, rapid.Int64Range(1, 9).Draw(t, "expires_at")))
		}
		if rapid.Bool().Draw(t, "status") {
			members = append(members, fmt.Sprintf(`"status":%q`, rapid.SampledFrom([]string{"NEED_TO_SIGN", "WAITING_FOR_OTHERS",
				"WAITING_FOR_PROCESSING", "APPROVED", "REJECTED", "FAILED", "CANCELLED", "NEW"}).Draw(t, "status")))
		}
		h.body = strings.Join(members, ",")
		return h
	}), 1, 12, func(h happened) string { return fmt.Sprint(h.at, h.what) }).Draw(t, "history")
}

func TestMergeInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		events := history(t)
		again := rapid.SliceOf(rapid.SampledFrom(events)).Draw(t, "repeated")
		shuffled := rapid.Permutation(append(slices.Clone(events), again...)).Draw(t, "shuffled")
		if got, want := state(merged(t, shuffled)), model(events); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

// rig runs the job type on a private database.
type rig struct{ *jobtest.Rig }

func newRig(t *testing.T) rig {
	t.Helper()
	registry := worker.NewRegistry()
	registry.AddBatch(requeststate.JobType{})
	return rig{jobtest.New(t, jobtest.Pool(t), registry, slog.LevelWarn, 10)}
}

func (r rig) state(t *testing.T, id string) string {
	t.Helper()
	tx, err := r.Pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	row, err := signaturerequest.Lock(context.Background(), tx, id)
	if err != nil {
		t.Fatal(err)
	}
	return state(row)
}

// Several workers process shuffled, repeated histories of some signature
// requests at the same time. LUMIN_TEST_HISTORIES is their number.
func TestConcurrentHistories(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	random := measure.Rand(t)
	histories := map[string][]happened{}
	events := 0
	var payloads [][]byte
	for n := range measure.Size(t, "LUMIN_TEST_HISTORIES", 12) {
		id := fmt.Sprintf("request-%d", n)
		histories[id] = rapid.Custom(history).Example(int(random.Int32()))
		events += len(histories[id])
		for _, h := range histories[id] {
			payloads = append(payloads, h.payload(id), h.payload(id))
		}
	}
	random.Shuffle(len(payloads), func(i, j int) { payloads[i], payloads[j] = payloads[j], payloads[i] })
	const senders = 200
	var group sync.WaitGroup
	for part := range slices.Chunk(payloads, (len(payloads)+senders-1)/senders) {
		group.Go(func() {
			for _, payload := range part {
				r.Record(t, payload)
			}
		})
	}
	group.Wait()
	r.WaitQuiet(t)
	for id, events := range histories {
		if got, want := r.state(t, id), model(events); got != want {
			t.Errorf("%s: %v\n got %s\nwant %s", id, events, got, want)
		}
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.signature_requests`); n != len(histories) {
		t.Errorf("%d rows for %d signature requests", n, len(histories))
	}
	measure.Log(t, "histories", float64(len(histories)), "")
	measure.Log(t, "events", float64(events), "")
	measure.Log(t, "attempts", float64(len(payloads)), "")
}

// The run succeeds for every body with a valid identity.
func TestUnusualBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	deep := strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000)
	var noise strings.Builder // that PostgreSQL cannot compress
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		noise.WriteRune(rune('a' + random.IntN(26)))
	}
	want := map[string]string{}
	for name, body := range map[string]struct{ members, want string }{
		"nested deeply":      {`"title":"T","x":` + deep, `"REJECTED" "T" - - - - -`},
		"deep title":         {`"title":` + deep, `"REJECTED" - - - - - -`},
		"NUL":                {`"title":"a\u0000b","reason":"\u0000","signing_type":"\u0000","status":"\u0000"`, `"REJECTED" "ab" "" "" - - -`},
		"lone surrogates":    {`"title":"a\ud800b","reason":"\udc00"`, `"REJECTED" "a` + "\ufffd" + `b" "` + "\ufffd" + `" - - - -`},
		"other types":        {`"title":1,"status":{},"reason":[],"signing_type":true,"created_at":"x","updated_at":{},"expires_at":-1`, `"REJECTED" - - - - - -`},
		"a long status":      {`"status":"` + noise.String() + `"`, `"REJECTED" - - - - - -`},
		"a long title":       {`"title":"` + noise.String() + `"`, `"REJECTED" "` + noise.String() + `" - - - - -`},
		"a status of 255":    {`"status":"` + noise.String()[:255] + `"`, `"` + noise.String()[:255] + `" - - - - - -`},
		"the ends of time":   {`"created_at":1,"updated_at":253402300799999,"expires_at":253402300800000`, `"REJECTED" - - - 1 253402300799999 -`},
		"not UTF-8":          {`"title":"a` + "\xff" + `b"`, `"REJECTED" "a` + "\ufffd" + `b" - - - - -`},
		"repeated members":   {`"title":"a","title":"b","status":"NEW","status":7`, `"NEW" "b" - - - - -`},
		"quotes for SQL":     {`"title":"'; DROP TABLE lumin.events; --"`, `"REJECTED" "'; DROP TABLE lumin.events; --" - - - - -`},
		"an id of 255 bytes": {`"title":"T"`, `"REJECTED" "T" - - - - -`},
	} {
		id := name
		if name == "an id of 255 bytes" {
			id = noise.String()[:255]
		}
		r.Record(t, happened{7, lumin.SignatureRequestDeclined, body.members}.payload(id))
		want[id] = body.want + ` "signature_request_declined" 7`
	}
	// A type of the maximum length, with characters that JSON must escape.
	long := strings.Repeat("\"\n\u2028😀", 25)
	escaped, err := json.Marshal(long)
	if err != nil {
		t.Fatal(err)
	}
	r.Record(t, fmt.Appendf(nil, `{"event":{"event_time":7,"event_type":%s},"signature_request":{"signature_request_id":"odd type"}}`, escaped))
	want["odd type"] = `- - - - - - - ` + fmt.Sprintf("%q", long) + ` 7`

	r.WaitQuiet(t)
	for id, want := range want {
		if got := r.state(t, id); got != want {
			t.Errorf("%.40s:\n got %.300s\nwant %.300s", id, got, want)
		}
	}
}

// An event whose body was removed still has its type and time.
func TestRemovedBody(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	ctx := context.Background()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	e, _ := happened{7, lumin.SignatureRequestApproved, ""}.event(t, "id")
	e.Payload = nil
	if err := (requeststate.JobType{}).WorkBatch(ctx, tx, []*worker.Event{e}); err != nil {
		t.Fatal(err)
	}
	row, err := signaturerequest.Lock(ctx, tx, "id")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := state(row), `"APPROVED" - - - - - - "signature_request_approved" 7`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

package ingest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

const (
	alarmMessage     = "signatures do not match any configured key: was the key rotated at Lumin?"
	recoveredMessage = "signatures match again"
)

// After a rotation at Lumin, every delivery is refused until the new key is
// known.
func TestRotatedKeyIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start := r.now()
	newKeySignature := lumin.Sign([]byte(documentedBody), rotatedKey)
	mismatch := func() { r.post("/webhooks/account", documentedBody, newKeySignature) }

	wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
	for range 9 {
		mismatch()
	}
	// These errors do not concern a key, and another source is counted
	// separately.
	r.post("/webhooks/account", documentedBody, "")
	r.post("/webhooks/account", documentedBody, "abc")
	r.post("/webhooks/apps/demo", documentedBody, newKeySignature)
	wantAlarms(t, r, 0)
	mismatch()
	wantAlarms(t, r, 1)

	alarm := r.output.Entries(t, alarmMessage)[0]
	if alarm["level"] != "ERROR" || alarm["source"] != "account" || alarm["mismatches"] != 10. ||
		alarm["last_verified"] != "2023-09-14T04:03:28Z" || !strings.Contains(fmt.Sprint(alarm["remedy"]), "LUMIN_ACCOUNT_API_KEYS") {
		t.Errorf("logged %v", alarm)
	}
	wantSources(t, r, SourceStatus{"account", start, 10}, SourceStatus{"app:demo", time.Time{}, 1})
	for name, want := range map[string]float64{"account": 1694664208.595, "app:demo": -1} {
		if got := r.metric("lumin_source_last_verified_timestamp_seconds", "source="+name); got != want {
			t.Errorf("%s last verified at %f, want %f", name, got, want)
		}
	}

	r.setClock(start.Add(10*time.Minute - 1))
	mismatch()
	wantAlarms(t, r, 1)
	r.setClock(start.Add(10 * time.Minute))
	mismatch()
	wantAlarms(t, r, 2)

	wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
	again := r.output.Entries(t, recoveredMessage)
	if len(again) != 1 || again[0]["level"] != "INFO" || again[0]["source"] != "account" || again[0]["mismatches"] != 12. {
		t.Errorf("logged %v", again)
	}
	wantSources(t, r, SourceStatus{"account", start.Add(10 * time.Minute), 0}, SourceStatus{"app:demo", time.Time{}, 1})

	// The end of an alarm is logged once. The next mismatches are counted from
	// one.
	r.postAccount(documentedBody)
	r.setClock(start.Add(time.Hour))
	for range 9 {
		mismatch()
	}
	wantAlarms(t, r, 2)
	if got := len(r.output.Entries(t, recoveredMessage)); got != 1 {
		t.Errorf("%d times", got)
	}
	mismatch()
	wantAlarms(t, r, 3)
}

// wantAlarms counts the alarms in the log.
func wantAlarms(t *testing.T, r *rig, want int) {
	t.Helper()
	if got := len(r.output.Entries(t, alarmMessage)); got != want {
		t.Fatalf("%d alarms, want %d", got, want)
	}
}

// wantSources compares the status of all sources, as reported by Sources and by
// the metric of mismatches.
func wantSources(t *testing.T, r *rig, want ...SourceStatus) {
	t.Helper()
	if got := r.Sources(); !slices.Equal(got, want) {
		t.Errorf("Sources() = %v, want %v", got, want)
	}
	for _, s := range want {
		if got := r.metric("lumin_source_mismatches_since_verified", "source="+s.Source); got != float64(s.MismatchesSince) {
			t.Errorf("%v mismatches of %s, want %d", got, s.Source, s.MismatchesSince)
		}
	}
}

// After a restart, the last verified time is either the true one or absent.
func TestLastVerifiedBeforeTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	last := func(source string) float64 {
		return r.metric("lumin_source_last_verified_timestamp_seconds", "source="+source)
	}
	if last("account") != -1 || last("app:demo") != -1 {
		t.Error("a time is shown before it is known")
	}
	before := documentedTime.Add(-time.Hour)
	r.SetLastVerified(map[string]time.Time{"account": before, "app:gone": before})
	if got, want := last("account"), float64(before.UnixMilli())/1000; got != want || last("app:demo") != 0 {
		t.Errorf("account %f, want %f; app:demo %f, want 0", got, want, last("app:demo"))
	}
	if got := r.Sources()[0].LastVerified; !got.Equal(before) {
		t.Errorf("Sources() has %v", got)
	}
	r.postAccount(documentedBody)
	r.SetLastVerified(map[string]time.Time{"account": before})
	if got, want := last("account"), float64(r.now().UnixMilli())/1000; got != want {
		t.Errorf("%f after a delivery, want %f", got, want)
	}
	for range 10 {
		r.post("/webhooks/apps/demo", documentedBody, accountSignature)
	}
	if alarm := r.output.Entries(t, alarmMessage)[0]; alarm["last_verified"] != "never" {
		t.Errorf("logged %v", alarm)
	}
}

// Alternating valid and invalid deliveries do not make alarms more frequent.
func TestAlarmsAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 5 {
		for range 12 {
			r.post("/webhooks/apps/demo", documentedBody, accountSignature)
		}
		wantReceipt(t, r.post("/webhooks/apps/demo", documentedBody, appSignature), `{"id":17,"status":"recorded"}`)
	}
	alarms, fine := r.output.Entries(t, alarmMessage), r.output.Entries(t, recoveredMessage)
	if len(alarms) != 1 || len(fine) != 1 {
		t.Fatalf("%d alarms, %d times fine again, want 1 each", len(alarms), len(fine))
	}
	if remedy := fmt.Sprint(alarms[0]["remedy"]); !strings.Contains(remedy, "LUMIN_APP_SECRETS") || alarms[0]["last_verified"] != "never since start" {
		t.Errorf("logged %v", alarms[0])
	}
}

// A delivery with a valid signature can still be refused.
func TestRefusedDeliveryCountsAsVerified(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.setClock(documentedTime.Add(100 * 24 * time.Hour))
	wantProblem(t, r.postAccount(documentedBody).Result(), 400, "timestamp_expired")
	if got := r.Sources()[0]; !got.LastVerified.Equal(r.now()) {
		t.Errorf("%v", got)
	}
}

// Callers cannot create new label values.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	request := func(i int) {
		path := fmt.Sprintf("/webhooks/apps/made-up-%d", i)
		r.post(path, documentedBody, accountSignature)
		r.post(fmt.Sprintf("/%d", i), documentedBody, accountSignature)
		odd := newPost(path, documentedBody, accountSignature)
		odd.Method = fmt.Sprintf("M%d", i)
		r.do(odd)
	}
	request(0)
	before := len(r.series("lumin_deliveries_total"))
	for i := range 50 {
		request(i)
	}
	if after := len(r.series("lumin_deliveries_total")); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	for _, m := range r.series("lumin_deliveries_total") {
		for _, label := range m.GetLabel() {
			if label.GetName() == "source" && !slices.Contains([]string{"account", "app:demo", "unknown"}, label.GetValue()) {
				t.Errorf("source %q", label.GetValue())
			}
		}
	}
}

// All metrics of a source exist before its first delivery.
func TestMetricsFromTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, source := range []string{"source=account", "source=app:demo"} {
		for _, result := range []string{"recorded", "duplicate", "unrecognized"} {
			if got := r.metric("lumin_deliveries_total", source, "result="+result, "reason="); got != 0 {
				t.Errorf("%s %s: %v", source, result, got)
			}
		}
		for _, name := range []string{
			"lumin_delivery_seconds", "lumin_source_mismatches_since_verified",
		} {
			if got := r.metric(name, source); got != 0 {
				t.Errorf("%s %s: %v", source, name, got)
			}
		}
		for _, kind := range []string{"content", "another_actor"} {
			if got := r.metric("lumin_conflicts_total", source, "kind="+kind); got != 0 {
				t.Errorf("%s conflicts of kind %s: %v", source, kind, got)
			}
		}
	}
}

// New keys replace the old ones immediately, without affecting other
// deliveries.
func TestSetSources(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	r := newRig(t)
	r.record = func(context.Context, store.Delivery) (store.Receipt, error) {
		close(entered)
		<-release
		return store.Receipt{EventID: 17, Status: store.Recorded}, nil
	}
	rotated := lumin.Sign([]byte(documentedBody), rotatedKey)
	r.post("/webhooks/account", documentedBody, rotated) // a mismatch, which is remembered
	inFlight := make(chan int)
	go func() { inFlight <- r.post("/webhooks/apps/demo", documentedBody, appSignature).Code }()
	<-entered
	if err := r.SetSources(map[string]*lumin.Keyring{"account": newKeyring(t, rotatedKey), "app:new": newKeyring(t, appKey)}); err != nil {
		t.Fatal(err)
	}
	close(release)
	if code := <-inFlight; code != 200 {
		t.Errorf("the delivery in flight was answered %d", code)
	}
	r.mu.Lock()
	r.record = nil
	r.mu.Unlock()

	want := []SourceStatus{{"account", time.Time{}, 1}, {"app:new", time.Time{}, 0}}
	if got := r.Sources(); !slices.Equal(got, want) {
		t.Errorf("Sources() = %v, want %v", got, want)
	}
	for _, c := range []struct {
		path, signature string
		want            int
	}{
		{"/webhooks/account", rotated, 200}, {"/webhooks/account", accountSignature, 401},
		{"/webhooks/apps/new", appSignature, 200}, {"/webhooks/apps/demo", appSignature, 404},
	} {
		if got := r.post(c.path, documentedBody, c.signature).Code; got != c.want {
			t.Errorf("%s answered %d, want %d", c.path, got, c.want)
		}
	}
	for source, want := range map[string]float64{"app:new": 1, "app:demo": 1} {
		if got := r.metric("lumin_deliveries_total", "source="+source, "result=recorded", "reason="); got != want {
			t.Errorf("%v recorded of %s, want %v", got, source, want)
		}
	}

	for name, sources := range map[string]map[string]*lumin.Keyring{
		"none": {}, "no source": {"crm": newKeyring(t, appKey)}, "no keys": {"account": {}},
	} {
		if r.SetSources(sources) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := r.post("/webhooks/account", documentedBody, rotated).Code; got != 200 {
		t.Errorf("after that it answered %d", got)
	}
}

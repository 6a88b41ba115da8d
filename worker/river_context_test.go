package worker_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/worker"
)

// Metadata that jsonb refuses does not keep River from completing jobs.
func TestMetadata(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	set := func(key string, value any) func(context.Context, pgx.Tx, int) error {
		return func(ctx context.Context, _ pgx.Tx, _ int) error { return river.MetadataSet(ctx, key, value) }
	}
	good := newTxJob("good", nil)
	types := []worker.JobType{good}
	for kind, test := range metadataCases(set) {
		types = append(types, newTxJob(kind, test.work))
	}
	r.start(types...)
	start := time.Now()
	key := r.record(1, types...)
	r.waitQuiet()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	for kind, test := range metadataCases(set) {
		got := r.run(kind, key)
		if got.State != "succeeded" || got.JobState != "completed" || got.Metadata != test.want {
			t.Errorf("%s: run %s, job %s, metadata %.200s; want %.200s", kind, got.State, got.JobState, got.Metadata, test.want)
		}
	}
}

type metadataCase struct {
	work func(ctx context.Context, tx pgx.Tx, call int) error
	want string
}

func metadataCases(set func(string, any) func(context.Context, pgx.Tx, int) error) map[string]metadataCase {
	return map[string]metadataCase{
		"ordinary": {set("k", map[string]any{"a": []any{1, 2.5, nil, true, "é"}, "big": 12345678901234567890.0}),
			`{"k": {"a": [1, 2.5, null, true, "é"], "big": 12345678901234567000}}`},
		"output":          {func(ctx context.Context, _ pgx.Tx, _ int) error { return river.RecordOutput(ctx, "a\x00b") }, `{"output": "ab"}`},
		"backslashes":     {set("k", `\u0000`), `{"k": "\\u0000"}`},
		"NUL":             {set("k", "a\x00b"), `{"k": "ab"}`},
		"NUL_in_key":      {set("k\x00", map[string]int{"a\x00b": 1}), `{"k": {"ab": 1}}`},
		"not_UTF-8":       {set("k\xff", "a\xffb"), `{"k` + "\uFFFD" + `": "a` + "\uFFFD" + `b"}`},
		"surrogate":       {set("k", json.RawMessage(`"a\ud800b"`)), `{"k": "a` + "\uFFFD" + `b"}`},
		"huge_number":     {set("k", json.RawMessage(`1e400000`)), `{"k": "removed: a number in it is out of range"}`},
		"tiny_number":     {set("k", json.RawMessage(`1e-400000`)), `{"k": 0}`},
		"deep":            {set("k", json.RawMessage(strings.Repeat("[", 9000)+strings.Repeat("]", 9000))), `{"k": "removed: it is nested too deeply"}`},
		"not_JSON":        {set("k", make(chan int)), `{"k": "removed: it cannot be encoded as JSON"}`},
		"panicking":       {set("k", panickingJSON{}), `{"k": "removed: panic: no JSON"}`},
		"confusing_River": {set("cancel_attempted_at", "yesterday"), `{}`},
	}
}

type panickingJSON struct{}

func (panickingJSON) MarshalJSON() ([]byte, error) { panic("no JSON") }

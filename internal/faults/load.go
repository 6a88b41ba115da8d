//go:build unix

package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// Kinds of the job types that the program must have. It works all events with
// these five and no others.
const (
	// EffectKind is a transactional job type that inserts event_key, job_kind
	// and rerun into faults.effects.
	EffectKind = "faults_effect"
	// BatchKind is a batch job type that does the same.
	BatchKind = "faults_batch"
	// OrderedKind is an ordered job type that holds its lanes. It also inserts
	// tx_began, began and at: when its transaction began, when WorkTx was called,
	// and when its work was done.
	OrderedKind = "faults_ordered"
	// CallKind is a plain job type that calls [NoteCall].
	CallKind = "faults_call"
	// stateKind is a job type that comes with the program.
	stateKind = "signature_request_state"
)

// Variables of the environment of the program that decide how its job types
// behave.
const (
	SeedVariable   = "FAULTS_SEED"   // decides with the key of an event which of its jobs fail by chance
	SteadyVariable = "FAULTS_STEADY" // if it is set, job types do not fail by chance
	SlowVariable   = "FAULTS_SLOW"   // the longest time that EffectKind waits after its effect, such as 2s
	NameVariable   = "FAULTS_NAME"   // the name of the program, which its effects have
	PoisonVariable = "FAULTS_POISON" // a file: while it exists, PanicKind, NULKind and HangKind misbehave for some events
)

// Errors with which the job types fail by chance. The program may fail runs with
// another error only because of a fault.
const (
	FailText  = "not at all"    // for good
	RetryText = "not this time" // the attempt
)

// Job types that the program has if PoisonVariable is set. They leave no effects.
const (
	PanicKind = "faults_panic"
	NULKind   = "faults_nul"  // its error text has a NUL byte
	HangKind  = "faults_hang" // it ignores its context
)

// call is one line of the file of calls.
type call struct {
	Event lumin.EventKey `json:"event"`
	Rerun int            `json:"rerun"`
}

// NoteCall appends a line to the file of calls. Several processes may call it
// at once. The line is complete when NoteCall returns, even if the process is
// killed immediately afterwards.
func NoteCall(path string, event lumin.EventKey, rerun int) error {
	text, err := json.Marshal(call{event, rerun})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(text, '\n'))
	return err
}

// readCalls counts the calls by event and repetition. A missing file counts as
// no calls.
func readCalls(path string) (map[call]int, error) {
	counts := map[call]int{}
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return counts, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var one call
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("read calls: %w", err)
		}
		counts[one]++
	}
	return counts, lines.Err()
}

// load copies the observations of a run into tables, with which the checks
// compare the tables of the program.
func (r *runner) load(ctx context.Context, conn *pgx.Conn) error {
	calls, err := readCalls(r.cfg.callsFile())
	if err != nil {
		return err
	}
	var called, asked [][]any
	for one, count := range calls {
		called = append(called, []any{[16]byte(one.Event), CallKind, one.Rerun, count})
	}
	for key, times := range r.replays.reruns() {
		asked = append(asked, []any{[16]byte(key), len(times)})
	}
	kinds := [][]any{{EffectKind, true, false}, {BatchKind, true, false}, {OrderedKind, true, false}, {CallKind, false, true}, {stateKind, false, false}}
	if r.cfg.poison {
		for _, kind := range []string{PanicKind, NULKind, HangKind} {
			kinds = append(kinds, []any{kind, false, false})
		}
	}
	for _, t := range []struct {
		table   string
		columns []string
		rows    [][]any
	}{
		{"kinds", []string{"kind", "effects", "calls"}, kinds},
		{"ledger", []string{"event_key", "source", "payload_sha256", "forged", "acks", "attempts", "event_id", "acked_at"}, r.ledger.rows()},
		{"calls", []string{"event_key", "job_kind", "rerun", "count"}, called},
		{"asked", []string{"event_key", "times"}, asked},
	} {
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"faults", t.table}, t.columns, pgx.CopyFromRows(t.rows)); err != nil {
			return fmt.Errorf("load faults.%s: %w", t.table, err)
		}
	}
	return nil
}

package app

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// tried is what was tried of one job type.
type tried struct {
	Kind      string        `json:"job_kind"`
	Runs      int64         `json:"runs"`   // that a replay would take
	Exact     bool          `json:"exact"`  // false: Runs is an estimate
	Untried   *string       `json:"reason"` // why the job type cannot be tried; null if it can
	Tried     int           `json:"tried"`
	Succeeded int           `json:"would_succeed"`
	Problems  []problem     `json:"problems"` // the runs that would not succeed, or were not tried
	Changes   []changedRows `json:"changes"`  // by the runs that would succeed; empty if the server does not count

	uncounted bool // the server does not count changed rows
}

// problem is a group of runs with the same outcome and the same error.
type problem struct {
	Outcome     worker.TrialOutcome `json:"outcome"`
	Fingerprint string              `json:"error_fingerprint"`
	Runs        int                 `json:"count"`
	EventID     int64               `json:"event_id"` // of one of them
	Error       string              `json:"error"`    // of that event
}

// changedRows counts the rows of one table that would change.
type changedRows struct {
	Table    string `json:"table"`
	Inserted int64  `json:"inserted"`
	Updated  int64  `json:"updated"`
	Deleted  int64  `json:"deleted"`
}

// add adds the trial of a run.
func (t *tried) add(run replay.Run, trial worker.Trial) {
	if trial.Outcome != worker.Busy && trial.Outcome != worker.EventGone {
		t.Tried++
	}
	if trial.Outcome != worker.WouldSucceed {
		t.Problems = append(t.Problems, problem{Outcome: trial.Outcome, Runs: 1, EventID: run.EventID, Error: trial.Err.Error()})
		return
	}
	t.Succeeded++
	t.uncounted = trial.Changes == nil
	for _, c := range trial.Changes {
		i := slices.IndexFunc(t.Changes, func(of changedRows) bool { return of.Table == c.Table })
		if i < 0 {
			i, t.Changes = len(t.Changes), append(t.Changes, changedRows{Table: c.Table})
		}
		t.Changes[i].Inserted += c.Inserted
		t.Changes[i].Updated += c.Updated
		t.Changes[i].Deleted += c.Deleted
	}
}

// group joins problems with the same outcome and fingerprint, the most frequent
// first. fingerprints are those of the problems.
func (t *tried) group(fingerprints []string) {
	var groups []problem
	for i, p := range t.Problems {
		p.Fingerprint = fingerprints[i]
		same := slices.IndexFunc(groups, func(g problem) bool { return g.Outcome == p.Outcome && g.Fingerprint == p.Fingerprint })
		if same < 0 {
			groups = append(groups, p)
		} else {
			groups[same].Runs++
		}
	}
	slices.SortStableFunc(groups, func(a, b problem) int { return b.Runs - a.Runs })
	t.Problems = groups
}

// notTried is the cell that shows how many runs were not tried, or why none was.
func (t *tried) notTried() string {
	if t.Untried != nil {
		return *t.Untried
	}
	return countText(max(t.Runs-int64(t.Tried), 0), t.Exact)
}

// printTried prints what was tried of each job type.
func printTried(w io.Writer, asJSON bool, results []tried) error {
	if asJSON {
		return printLines(w, results)
	}
	fmt.Fprintln(w)
	listing[tried]{
		headings: []string{"JOB TYPE", "RUNS", "TRIED", "WOULD SUCCEED", "WOULD NOT", "NOT TRIED"},
		cells: func(t tried) []string {
			return []string{
				t.Kind, countText(t.Runs, t.Exact), strconv.Itoa(t.Tried), strconv.Itoa(t.Succeeded),
				strconv.Itoa(t.Tried - t.Succeeded), t.notTried(),
			}
		},
	}.table(w, results)
	var problems, changes [][]string
	uncounted := false
	for _, t := range results {
		uncounted = uncounted || t.uncounted
		for _, p := range t.Problems {
			problems = append(problems, []string{
				t.Kind, strings.ReplaceAll(string(p.Outcome), "_", " "), strconv.Itoa(p.Runs),
				strconv.FormatInt(p.EventID, 10), p.Fingerprint, errorCell(p.Error),
			})
		}
		for _, c := range t.Changes {
			changes = append(changes, []string{
				t.Kind, c.Table, strconv.FormatInt(c.Inserted, 10), strconv.FormatInt(c.Updated, 10), strconv.FormatInt(c.Deleted, 10),
			})
		}
	}
	if len(problems) > 0 {
		fmt.Fprintln(w)
		table(w, []string{"JOB TYPE", "OUTCOME", "RUNS", "EVENT", "FINGERPRINT", "ERROR, SUCH AS"}, problems, "ERROR, SUCH AS")
	}
	if len(changes) > 0 {
		fmt.Fprintln(w)
		table(w, []string{"JOB TYPE", "TABLE", "WOULD INSERT", "WOULD UPDATE", "WOULD DELETE"}, changes)
	}
	if uncounted {
		fmt.Fprintln(w, "changed rows are not counted: track_counts is off")
	}
	_, err := fmt.Fprintln(w, "\neverything was rolled back, and no replay was ordered")
	return err
}

// tryBar returns a function that shows the progress on a terminal, and nothing
// elsewhere: trials take seconds.
func tryBar(w io.Writer) func(kind string, done, of int) {
	f := terminal(w)
	if f == nil {
		return func(string, int, int) {}
	}
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(kind string, done, of int) {
		bar.Describe("try " + kind)
		bar.ChangeMax(of)
		_ = bar.Set(done) // a closed terminal needs no bar
		if done == of {
			bar.Reset()
		}
	}
}

package replay

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/*.sql anew")

// testdata holds every statement whose text depends on its filter: once for a
// filter without any field that changes the text, and once for a filter with
// all of them (by_all). Statements on failed runs are also there for each such
// field alone.
func TestStatements(t *testing.T) {
	t.Parallel()
	var (
		now = time.Now()
		all = Filter{EventTypes: []string{"x"}, SignatureRequestIDs: []string{"x"}, EventIDs: []int64{1}, Sources: []string{"x"}}
	)
	statements := map[string]string{}
	add := func(name string, sql func(Filter) string, status Status) {
		f := Filter{Status: status}
		statements[name] = sql(f)
		f = all
		f.Status = status
		statements[name+"_by_all"] = sql(f)
	}
	planRuns := func(f Filter) string { return planRunsSQL(f.runs(withBody)) }
	for _, status := range []Status{Failed, Cancelled, Succeeded} {
		add("plan_"+string(status), planRuns, status)
		add("page_"+string(status), runsPageSQL, status)
	}
	for _, status := range []Status{Cancelled, Succeeded, dismissed} {
		statements["plan_"+string(status)+"_bodiless"] = planRunsSQL(Filter{Status: status}.runs(withoutBody))
	}
	for status, sql := range map[Status]func(Filter) string{Failed: runsLeftSQL, Succeeded: runsLeftSQL, Retrying: retryingLeftSQL, Missing: missingLeftSQL} {
		add("left_"+string(status), sql, status)
	}
	for _, status := range []Status{Failed, Cancelled, Succeeded} {
		statements["window_"+string(status)] = runWindowSQL(Filter{Status: status})
	}
	for name, f := range map[string]Filter{
		"by_event_type": {EventTypes: []string{"x"}},
		"by_id":         {EventIDs: []int64{1}},
		"by_request":    {SignatureRequestIDs: []string{"x"}},
		"by_source":     {Sources: []string{"x"}},
	} {
		statements["plan_failed_"+name] = planRuns(f)
		statements["page_failed_"+name] = runsPageSQL(f)
	}
	add("plan_retrying", planRuns, Retrying)
	add("page_retrying", retryingPageSQL, Retrying)
	add("plan_missing", func(f Filter) string { return planMissingSQL(f, withBody) }, Missing)
	statements["plan_missing_bodiless"] = planMissingSQL(Filter{Status: Missing}, withoutBody)
	add("sample_failed", func(f Filter) string { return planRunsSQL(f.runs(withBody).sample()) }, Failed)
	add("sample_missing", func(f Filter) string { return sampleMissingSQL(f, withBody) }, Missing)
	add("page_missing", missingPageSQL, Missing)
	add("plan_late", func(f Filter) string { return planMissingSQL(f, withBody) }, Late)
	add("page_late", missingPageSQL, Late)
	add("matching_late", matchingSQL, Late)
	add("matching_missing", matchingSQL, Missing)
	add("matching_failed", matchingSQL, Failed)
	add("matching_retrying", matchingSQL, Retrying)
	add("plan_dismissed", planRuns, dismissed)
	add("dismiss", dismissSQL, Failed)
	add("dismiss_late", dismissLateSQL, Late)
	add("restore", restoreSQL, dismissed)
	add("cancel_retrying", cancelRetryingSQL, Retrying)
	statements["unrecognized"] = unrecognizedSQL()

	// The values of a filter are parameters. Only the fields that are set
	// matter.
	for name, f := range map[string]Filter{
		"plan_failed":               {Kinds: []string{"x"}, ErrorFingerprints: []string{"x"}},
		"plan_failed_by_event_type": {EventSince: &now, EventUntil: &now},
		"plan_failed_by_source":     {ReceivedSince: &now, ReceivedUntil: &now},
	} {
		if sql := planRuns(f); sql != statements[name] {
			t.Errorf("another text than %s:\n%s", name, sql)
		}
	}
	compare(t, statements)
}

// compare checks each statement against its file, and that there is no other
// file.
func compare(t *testing.T, statements map[string]string) {
	t.Helper()
	for name, sql := range statements {
		file := filepath.Join("testdata", name+".sql")
		if *update {
			if err := os.WriteFile(file, []byte(sql+"\n"), 0o644); err != nil { //nolint:gosec // a file of the source tree
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != sql+"\n" {
			t.Errorf("%s differs from testdata, %v: run the test with -update and check the difference\n%s", name, err, sql)
		}
	}
	files, err := filepath.Glob("testdata/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".sql"); statements[name] == "" {
			t.Errorf("%s belongs to no statement", file)
		}
	}
}

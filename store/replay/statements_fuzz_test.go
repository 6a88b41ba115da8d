package replay

import (
	"strings"
	"testing"
	"time"
)

// FuzzStatements: the text of a statement depends on which fields of a filter
// are set, never on their values.
func FuzzStatements(f *testing.F) {
	for bit, seed := range []string{"", "'; DROP TABLE lumin.runs; --", "@kinds", "$1", `"`, "\\", "\x00", "\xff", "{a,b}", "a,b"} {
		f.Add(seed, int64(bit), uint16(1<<bit))
		f.Add(seed, int64(-bit), uint16(2047))
	}
	f.Fuzz(func(t *testing.T, text string, id int64, shape uint16) {
		filled := filterOf(shape, text, id, time.UnixMilli(id))
		harmless := filterOf(shape, "x", 1, time.UnixMilli(0))
		for _, status := range []Status{"", Failed, Retrying, Cancelled, Succeeded, Missing, dismissed} {
			filled.Status, harmless.Status = status, status
			a, b := statementsOf(filled), statementsOf(harmless)
			for i := range a {
				if a[i] != b[i] {
					t.Errorf("%+v: the statement depends on a value: %s", filled, a[i])
				}
			}
		}
		args := filled.args()
		for name, values := range map[string][]string{
			"kinds": filled.Kinds, "errors": filled.ErrorFingerprints, "types": filled.EventTypes, "sources": filled.Sources, "requests": filled.SignatureRequestIDs,
		} {
			if bound, ok := args[name].([]string); !ok || strings.Join(bound, "\x01") != strings.Join(values, "\x01") {
				t.Errorf("%s is bound as %q, want %q", name, args[name], values)
			}
		}
	})
}

// filterOf returns a filter with the fields set that the bits of shape choose.
func filterOf(shape uint16, text string, id int64, at time.Time) (f Filter) {
	for bit, set := range []func(){
		func() { f.Kinds = []string{text} }, func() { f.EventTypes = []string{text, text} }, func() { f.Sources = []string{text} },
		func() { f.SignatureRequestIDs = []string{text} }, func() { f.EventIDs = []int64{id} }, func() { f.ErrorFingerprints = []string{text} },
		func() { f.ReceivedSince = &at }, func() { f.ReceivedUntil = &at }, func() { f.EventSince = &at }, func() { f.EventUntil = &at }, func() { f.AsOf = &at },
	} {
		if shape&(1<<bit) != 0 {
			set()
		}
	}
	return f
}

func statementsOf(f Filter) []string {
	return []string{
		planRunsSQL(f.runs(withBody)), planRunsSQL(f.runs(withoutBody)), planRunsSQL(f.runs(withBody).sample()), runsPageSQL(f), retryingPageSQL(f),
		planMissingSQL(f, withBody), sampleMissingSQL(f, withBody), missingPageSQL(f), matchingSQL(f), dismissSQL(f), restoreSQL(f), runsLeftSQL(f), retryingLeftSQL(f), missingLeftSQL(f),
	}
}

package app

import (
	"fmt"

	"lumin-ingest/store"
)

// examineLate reports late events that wait for a decision.
func examineLate(late store.WaitingLate) finding {
	if late.Events == 0 {
		return finding{"late events", ok, "no late event waits for a decision", ""}
	}
	found := fmt.Sprintf("late events that no job type got, because they were too old when they arrived: %d", late.Events)
	if late.More {
		found += " or more"
	}
	return finding{"late events", warning, found,
		"see \"" + invocation() + " events list --late\"; run their job types with \"replay --late\", or keep them as they are with \"failures dismiss --late\""}
}

package app

import (
	"fmt"

	"lumin-ingest/store/conflict"
)

// examineConflicts reports conflicts that wait for the decision of a person.
func examineConflicts(undecided conflict.Undecided) finding {
	if undecided.All == 0 {
		return finding{"conflicts", ok, "no conflict waits for a decision", ""}
	}
	remedy := "see \"" + invocation() + " conflicts list --undecided\""
	if undecided.TwoSigners > 0 {
		remedy += ", and first those with --another-actor: each may be an event that has no runs"
	}
	return finding{"conflicts", warning, undecidedText(undecided.All, undecided.TwoSigners),
		remedy + "; promote each one that is a second event, and dismiss the others"}
}

// undecidedText counts conflicts, and those of them between two signers.
func undecidedText(all, twoSigners int64) string {
	least := ""
	if all >= conflict.UndecidedCounted {
		least = "at least "
	}
	text := fmt.Sprintf("conflicts that wait for a decision: %s%d", least, all)
	if twoSigners > 0 {
		text += fmt.Sprintf(", of them between two signers: %d", twoSigners)
	}
	return text
}

// examineUnrecognized reports deliveries of the last hour that no job type got.
func examineUnrecognized(deliveries int64) finding {
	if deliveries == 0 {
		return finding{"unrecognized", ok, "no delivery of the last hour was without a usable identity", ""}
	}
	return finding{"unrecognized", warning, unrecognizedText(deliveries),
		"see \"" + invocation() + " events list --unrecognized\", and look at a body: Lumin may have changed its form"}
}

func unrecognizedText(deliveries int64) string {
	return fmt.Sprintf("deliveries of the last hour that had no usable identity, so no job type got them: %d", deliveries)
}

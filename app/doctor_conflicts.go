package app

import "fmt"

// examineConflicts reports undecided conflicts between two signers. Only a
// person can decide about these.
func examineConflicts(undecided int64) finding {
	if undecided == 0 {
		return finding{"conflicts", ok, "no conflict between two signers waits for a decision", ""}
	}
	return finding{"conflicts", warning,
		fmt.Sprintf("conflicts whose second delivery names another signer in the same millisecond, and has no runs: %d", undecided),
		"see \"" + invocation() + " conflicts list --another-actor --undecided\"; promote each one that is a second event, and dismiss the others"}
}

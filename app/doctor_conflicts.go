package app

import "fmt"

// examineConflicts judges conflicts between two actors, about which only a person
// can decide.
func examineConflicts(undecided int64) finding {
	if undecided == 0 {
		return finding{"conflicts", ok, "no two signers in one millisecond wait for a decision", ""}
	}
	return finding{"conflicts", warning,
		fmt.Sprintf("deliveries that name another signer than the event of the same millisecond, without a run: %d", undecided),
		"see \"" + invocation() + " conflicts list --another-actor --undecided\"; promote each that is another event, or dismiss it"}
}

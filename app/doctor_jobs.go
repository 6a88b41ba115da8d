package app

import (
	"fmt"
	"strings"

	"lumin-ingest/store"
)

// examineStuck judges whether the workers of running programs can take jobs.
func examineStuck(programs []store.Program) (findings []finding) {
	for _, p := range programs {
		for _, queue := range p.Stuck {
			findings = append(findings, finding{"workers", warning, fmt.Sprintf("%s (process %d): %s", p.Host, p.PID, queue),
				"restart that program, which loses nothing; have the job type return when its context ends"})
		}
	}
	return findings
}

// examineFollowUps judges jobs that have no runs.
func examineFollowUps(state store.FollowUpState, programs []store.Program) (findings []finding) {
	if len(state.Failed) > 0 {
		findings = append(findings, finding{"follow-up jobs", warning, "failed for good: " + strings.Join(state.Failed, ", "),
			fmt.Sprintf("see \"%[1]s follow-ups list\"; \"%[1]s follow-ups retry\" puts them back. River removes them after seven days", invocation())})
	}
	var known []string
	for _, p := range programs {
		if p.Works() {
			known = append(known, p.OtherKinds...)
		}
	}
	if lost := without(state.Waiting, known); len(lost) > 0 && len(programs) > 0 {
		findings = append(findings, finding{"follow-up jobs", warning, "waiting, and no running program works " + strings.Join(lost, ", "),
			"deploy a program that has registered it with AddFollowUp or AddPeriodic"})
	}
	return findings
}

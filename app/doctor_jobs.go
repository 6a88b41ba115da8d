package app

import (
	"fmt"
	"strings"

	"lumin-ingest/store/catalog"
	"lumin-ingest/store/doctor"
)

// examineStuck reports queues of running programs that have no worker left.
func examineStuck(programs []catalog.Program) (findings []finding) {
	for _, p := range programs {
		for _, queue := range p.Stuck {
			findings = append(findings, finding{"workers", warning, fmt.Sprintf("%s (process %d): %s", p.Host, p.PID, queue),
				"restart that program; no event is lost. Then change the job type so that it returns when its context ends"})
		}
	}
	return findings
}

// examineFollowUps reports follow-up jobs that have failed for good, and jobs
// that no running program works.
func examineFollowUps(state doctor.FollowUps, programs []catalog.Program) (findings []finding) {
	if len(state.Failed) > 0 {
		findings = append(findings, finding{"follow-up jobs", warning, "failed for good: " + strings.Join(state.Failed, ", "),
			fmt.Sprintf("see \"%[1]s follow-ups list\"; \"%[1]s follow-ups retry\" puts them back into the queue. River removes them seven days after they failed", invocation())})
	}
	var known []string
	for _, p := range programs {
		if p.Works() {
			known = append(known, p.OtherKinds...)
		}
	}
	if lost := difference(state.Waiting, known); len(lost) > 0 && len(programs) > 0 {
		findings = append(findings, finding{"follow-up jobs", warning, "waiting, and no running program works " + strings.Join(lost, ", "),
			"deploy a program that registers these kinds with AddFollowUp or AddPeriodic"})
	}
	return findings
}

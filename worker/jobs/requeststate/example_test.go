package requeststate_test

import (
	"fmt"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/requeststate"
)

func Example() {
	registry := worker.NewRegistry()
	registry.AddBatch(requeststate.JobType{})
	for _, job := range registry.Route("account", lumin.SignatureRequestViewed) {
		fmt.Println(job.Kind)
	}
	// Output: signature_request_state
}

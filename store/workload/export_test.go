package workload

// The statements, for a test of their plans.
const (
	JobTypesSQL = jobTypesSQL
	QueuesSQL   = queuesSQL
)

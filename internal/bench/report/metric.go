package report

// Names of the metrics that targets and pictures refer to.
const (
	MetricP50       = "p50"
	MetricP99       = "p99"
	MetricRate      = "rate"
	MetricProgram   = "CPU, program"
	MetricServer    = "CPU, PostgreSQL"
	MetricCPU       = "CPU"
	MetricWAL       = "WAL"
	MetricTrips     = "round trips"
	MetricLoad      = "CPU, load"
	MetricDrain     = "drain"
	MetricEffectP50 = "effect p50"
	MetricEffectP99 = "effect p99"
	MetricMemory    = "memory"
	MetricGrowth    = "growth"
	MetricSize      = "size per event"
	MetricTime      = "time"
)

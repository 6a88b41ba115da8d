package main

import (
	"lumin-ingest/internal/bench/report"
)

// throughputRow is the row of [bench.throughput].
const throughputRow = "ours 256/2"

// targets lists what the figures are compared with. A target whose rows were
// not measured is shown as such.
func targets() []report.Target {
	all := []report.Target{
		{ID: "P1", Scenario: "p1", Metric: report.MetricP50, Of: "ours", Against: "before", Limit: 0.5},
		{ID: "P1", Scenario: "p1", Metric: report.MetricP50, Of: "ours", Against: "textbook", Limit: 1.15},
		{ID: "P2", Scenario: "p2", Metric: report.MetricCPU, Of: "ours", Against: "before", Limit: 0.65},
		{ID: "P2", Scenario: "p2", Metric: report.MetricCPU, Of: "ours", Against: "textbook", Limit: 0.22},
		{ID: "P2", Scenario: "p2", Metric: report.MetricWAL, Of: "ours", Against: "before", Limit: 0.8},
		{ID: "P3", Scenario: "p3", Metric: report.MetricRate, Of: "ours", Against: "textbook", AtLeast: true, Limit: 3.5},
		{ID: "P3", Scenario: "p3", Metric: report.MetricRate, Of: "ours", Against: "express", AtLeast: true, Limit: 10},
		{ID: "P3", Scenario: "p3", Metric: report.MetricRate, Of: "ours", Against: "pgbench", AtLeast: true, Limit: 1.5},
		{ID: "P4", Scenario: "p4", Metric: report.MetricCPU, Of: throughputRow, Against: "before", Limit: 0.2},
		{ID: "P4", Scenario: "p4", Metric: report.MetricCPU, Of: throughputRow, Against: "textbook", Limit: 0.12},
		{ID: "P5", Scenario: "p5", Metric: report.MetricRate, Of: "ours", Against: "textbook", AtLeast: true, Limit: 3},
		{ID: "P5", Scenario: "p5", Metric: report.MetricRate, Of: throughputRow, Against: "textbook", AtLeast: true, Limit: 5},
		{ID: "P5", Scenario: "p5", Metric: report.MetricCPU, Of: "ours", Against: "textbook", Limit: 0.15},
		{ID: "P6", Scenario: "p6", Metric: report.MetricCPU, Of: "ours", Against: "textbook", Limit: 0.7},
		{ID: "P7", Scenario: "p7", Metric: report.MetricP99, Of: "ours", Against: "ours" + idleSuffix, Limit: 3},
		{ID: "P7", Scenario: "p7", Metric: report.MetricDrain, Of: "ours", Against: "before", Limit: 1 / 2.5},
		{ID: "P8", Scenario: "p8", Metric: report.MetricEffectP50, Of: "ours", Limit: 10},
		{ID: "P8", Scenario: "p8", Metric: report.MetricEffectP99, Of: "ours", Limit: 50},
		{ID: "P9", Scenario: "p9", Metric: report.MetricCPU, Of: filledRow, Against: emptyRow, Limit: 1.1},
		{ID: "P9", Scenario: "p9", Metric: report.MetricRate, Of: filledRow, Against: emptyRow, AtLeast: true, Limit: 0.9},
		{ID: "P9", Scenario: "p9", Metric: report.MetricP99, Of: filledRow + drainRow, Against: emptyRow + drainRow, Limit: 1.1},
		{ID: "P9", Scenario: "p9", Metric: report.MetricDrain, Of: filledRow + drainRow, Against: emptyRow + drainRow, Limit: 1.1},
		{ID: "P9", Scenario: operatorsID, Metric: report.MetricP99, Of: "slowest " + firstPage, Limit: 20},
		{ID: "P9", Scenario: operatorsID, Metric: report.MetricP99, Of: "slowest " + replayPlan, Limit: 1000},
		{ID: "P9", Scenario: operatorsID, Metric: report.MetricP99, Of: "slowest " + failuresTask, Limit: 20},
		{ID: "P9", Scenario: operatorsID, Metric: report.MetricRate, Of: retentionTask, AtLeast: true, Limit: 20_000},
		{ID: "P9", Scenario: operatorsID, Metric: report.MetricP99, Of: busyTask, Against: quietTask, Limit: 2},
		{ID: "P10", Scenario: "p10", Metric: report.MetricMemory, Of: "ours" + idleRow, Limit: 35},
		{ID: "P10", Scenario: "p10", Metric: report.MetricMemory, Of: "ours" + loadedRow, Limit: 120},
		{ID: "P10", Scenario: "p10", Metric: report.MetricMemory, Of: exportRow, Limit: 100},
		{ID: "P11", Scenario: "p11", Metric: report.MetricRate, Of: "duplicates", Against: "distinct events", AtLeast: true, Limit: 1},
		{ID: "P11", Scenario: "p11", Metric: report.MetricGrowth, Of: "duplicates", Limit: 1.05},
		{ID: "P13", Scenario: "p13", Metric: report.MetricCPU, Of: dashboardsRow, Against: "ours", Limit: 1.05},
	}
	for _, delay := range distances() {
		all = append(all, report.Target{
			ID: "P12", Scenario: "p12", Metric: report.MetricRate, AtLeast: true, Limit: 6,
			Of: "ours" + distanceSuffix(delay), Against: "textbook" + distanceSuffix(delay),
		})
	}
	return all
}

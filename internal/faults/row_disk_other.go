//go:build unix && !linux

package faults

// The small disks of T7 need Linux.
func fullDiskScenario() Scenario { return Scenario{ID: "T7"} }
func fullLogScenario() Scenario  { return Scenario{ID: "T7w"} }

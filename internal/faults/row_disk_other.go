//go:build unix && !linux

package faults

import (
	"context"
	"errors"
)

// The small disks of T7 need Linux.
func fullDiskScenario() Scenario { return withoutDisk("T7", "the disk of the tables is full") }
func fullLogScenario() Scenario {
	return withoutDisk("T7w", "the disk of the write-ahead log is full")
}

func withoutDisk(id, name string) Scenario {
	return Scenario{
		ID: id, Name: name, Size: "5 times for 30 s",
		setup: setup{prepare: func(context.Context, *Config, Options) (func(), error) {
			return nil, errors.New("small disks need Linux")
		}},
	}
}

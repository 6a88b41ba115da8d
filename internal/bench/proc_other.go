//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

var errSystem = errors.New("the benchmark needs Linux, because it reads the CPU times of processes from /proc")

func checkSystem() error { return errSystem }

func dieWithParent(*exec.Cmd) {}

func processTime(int, bool) (time.Duration, error) { return 0, errSystem }

func memory(int) (now, highest int64, err error) { return 0, 0, errSystem }

func hardware() (processor, system string, memory int64) { return "", "", 0 }

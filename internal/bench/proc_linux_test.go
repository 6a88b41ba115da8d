package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"lumin-ingest/internal/wait"
)

func TestProcessTime(t *testing.T) {
	t.Parallel()
	before, err := processTime(os.Getpid(), false)
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		after, err := processTime(os.Getpid(), false)
		if err != nil {
			t.Fatal(err)
		}
		if after > before+2*tick {
			return
		}
	}
	t.Error("this process used no CPU time")
}

// The time of a child counts while it runs and after it has ended.
func TestProcessTimeOfChildren(t *testing.T) {
	t.Parallel()
	child := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	own := func() time.Duration {
		d, err := processTime(child.Process.Pid, false)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	wait.Until(t, "the child uses CPU time", func() bool { return own() >= 10*tick })
	used := own()
	running, err := processTime(os.Getpid(), true)
	if err != nil || running < used {
		t.Errorf("with a running child %s, %v; want %s or more", running, err, used)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	ended, err := processTime(os.Getpid(), true)
	if err != nil || ended < running {
		t.Errorf("after the child has ended %s, %v; want %s or more", ended, err, running)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	now, highest, err := memory(os.Getpid())
	if err != nil || now < mebibyte || highest < now {
		t.Errorf("memory %d, at its highest %d, %v", now, highest, err)
	}
}

//go:build unix

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/faults"
	"lumin-ingest/internal/pgdev"
)

// result is the content of result.json.
type result struct {
	Machine machine     `json:"machine"`
	Rows    []rowResult `json:"rows"`
}

// machine describes where the rows ran.
type machine struct {
	System     string `json:"system"`
	Cores      int    `json:"cores"`
	Go         string `json:"go"`
	PostgreSQL string `json:"postgresql"`
}

// rowResult is one row with what is the same for scenarios and tests.
type rowResult struct {
	*faults.Outcome
	Commit   string  `json:"commit"`
	Older    string  `json:"older,omitempty"` // commit of the older program, in T16
	Date     string  `json:"date"`
	Command  string  `json:"command"`
	Passed   bool    `json:"passed"`
	Lasted   float64 `json:"lasted_s"` // in all, with the start of the servers and the checks
	PerEvent float64 `json:"bound_per_event,omitempty"`
	PerFault float64 `json:"bound_per_fault,omitempty"`
}

// describe describes this machine and its PostgreSQL.
func describe(ctx context.Context) (machine, error) {
	m := machine{System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	server, err := pgdev.Start(ctx, pgdev.Config{})
	if err != nil {
		return m, err
	}
	defer server.Close()
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		return m, err
	}
	defer conn.Close(ctx)
	return m, conn.QueryRow(ctx, `SELECT current_setting('server_version')`).Scan(&m.PostgreSQL)
}

// readResult reads the result of earlier rows. A folder without one has none.
func readResult(folder string) (r result, err error) {
	text, err := os.ReadFile(filepath.Join(folder, "result.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read the earlier result in %s: %w; remove it to start anew", folder, err)
	}
	return r, nil
}

// publish adds a row to the result, in place of the same row with the same
// seed, and writes the files.
func (b *bench) publish(done rowResult) error {
	b.result.Rows = slices.DeleteFunc(b.result.Rows, func(r rowResult) bool { return r.ID == done.ID && r.Seed == done.Seed })
	b.result.Rows = append(b.result.Rows, done)
	slices.SortStableFunc(b.result.Rows, func(a, b rowResult) int {
		return cmp.Or(number(a.ID)-number(b.ID), strings.Compare(a.ID, b.ID), cmp.Compare(a.Seed, b.Seed))
	})
	if b.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.result, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(b.out, "result.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(b.out, "result.md"), []byte(b.result.markdown()), 0o644))
}

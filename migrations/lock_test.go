package migrations_test

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// A program that waits for another one that migrates says so once.
func TestWaitForAnotherProgramIsReported(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(address string, report func(migrations.Step)) error{
		"up": func(address string, report func(migrations.Step)) error {
			return migrations.UpReporting(t.Context(), address, report)
		},
		"down": func(address string, report func(migrations.Step)) error {
			return migrations.DownReporting(t.Context(), address, 1, report)
		},
		"roles": func(address string, report func(migrations.Step)) error {
			_, err := migrations.GrantRolesReporting(t.Context(), address, report)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := pgtest.AdminURL(t, pgtest.New(t))
			holder, err := pgtest.Pool(t, address).Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Release()
			if _, err := holder.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, 0x6c756d696e); err != nil { // lockKey
				t.Fatal(err)
			}
			done, waits := make(chan error, 1), make(chan string, 10)
			go func() {
				done <- act(address, func(s migrations.Step) {
					if strings.HasPrefix(s.Name, "waiting for another program that migrates") {
						waits <- s.Name
					}
				})
			}()
			select {
			case err := <-done:
				t.Fatalf("it did not wait: %v", err)
			case <-waits:
			case <-time.After(20 * time.Second):
				t.Error("it waits without a word")
			}
			if _, err := holder.Exec(t.Context(), `SELECT pg_advisory_unlock($1)`, 0x6c756d696e); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil || len(waits) > 0 {
				t.Errorf("%v; it was reported again %d times", err, len(waits))
			}
		})
	}
}

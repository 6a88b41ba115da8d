package admin_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/admin"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

func TestQueuesReplaysAndDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(
			admin.NewQueueCollector(admin.NewCounting(t.Context(), 1), func(context.Context) ([]store.QueueDepth, error) {
				return []store.QueueDepth{{Queue: "default", Queued: 7, Age: 61}, {Queue: "slow"}}, nil
			}),
			admin.NewReplayCollector(admin.NewCounting(t.Context(), 1), func(context.Context) (replay.Open, error) {
				return replay.Open{Orders: 2, Planned: 50, Enqueued: 20, Age: 3}, nil
			}),
			admin.NewDatabaseCollector(admin.NewCounting(t.Context(), 1), func(context.Context) (store.DatabaseLoad, error) {
				return store.DatabaseLoad{Sessions: 30, MaxSessions: 97, Bytes: 4096}, nil
			}))
		page := counted(t, registry)
		for _, want := range []string{
			`lumin_queued_jobs{queue="default"} 7`, `lumin_oldest_queued_job_age_seconds{queue="default"} 61`, `lumin_queued_jobs{queue="slow"} 0`,
			`lumin_open_replays 2`, `lumin_open_replays_planned_runs 50`, `lumin_open_replays_enqueued_runs 20`, `lumin_oldest_open_replay_age_seconds 3`,
			`lumin_database_connections 30`, `lumin_database_connections_limit 97`, `lumin_database_size_bytes 4096`,
		} {
			if !strings.Contains(page, want+"\n") {
				t.Errorf("no %s in\n%s", want, page)
			}
		}
	})
}

package replay_test

import (
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// A run that a replay sets to pending has the id of its new job.
func TestReplayedRunsKnowTheirJobs(t *testing.T) {
	t.Parallel()
	for _, status := range []replay.Status{replay.Failed, replay.Succeeded, replay.Missing} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			storetest.Register(t, s, "book")
			d := []store.Delivery{storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book")}
			filter := replay.Filter{Status: status}
			switch status {
			case replay.Failed:
				fail(t, s, d...)
			case replay.Succeeded:
				storetest.Record(t, s, d...)
				for _, d := range d {
					if err := storetest.Succeed(t, s, d, "book"); err != nil {
						t.Fatal(err)
					}
				}
			case replay.Missing:
				storetest.Record(t, s, storetest.Delivery(1), storetest.Delivery(2), storetest.Delivery(3))
			}
			filter.Kinds = []string{"book"}
			if n := storetest.CarryOut(t, s, storetest.Order(t, s, filter), storetest.ReplayJobs("book"), 10); n != 3 {
				t.Fatalf("%d runs replayed", n)
			}
			if n := storetest.Value[int](t, s.Pool(), `
				SELECT count(*) FROM lumin.runs r
				JOIN lumin.river_job j ON j.id = r.job_id AND j.kind = r.job_kind AND j.state = 'available'
				  AND lumin.run_key(j.args) = r.event_key AND lumin.run_replay(j.args) = r.replay_id
				WHERE r.state = 'pending' AND r.replay_id = 1`); n != 3 {
				t.Errorf("%d runs know their job", n)
			}
		})
	}
}

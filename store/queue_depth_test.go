package store_test

import (
	"testing"

	"lumin-ingest/store/internal/storetest"
)

func TestQueueDepths(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book', '{}', '{}', true, 'default'), ('slow', '{}', '{}', true, 'slow');
		INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ('mail', 'follow_up', 'idle');
		INSERT INTO lumin.river_job (args, kind, max_attempts, queue, priority, state, scheduled_at) VALUES
		    ('{}', 'book', 3, 'default', 1, 'available', now() - interval '1 minute'),
		    ('{}', 'book', 3, 'default', 4, 'available', now() - interval '1 hour'),
		    ('{}', 'book', 3, 'default', 1, 'scheduled', now() + interval '1 hour'),
		    ('{}', 'slow', 3, 'slow', 1, 'available', now() - interval '5 minutes')`)
	depths, err := s.QueueDepths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type depth struct {
		queue   string
		queued  int64
		minutes int
	}
	var got []depth
	for _, d := range depths {
		got = append(got, depth{d.Queue, d.Queued, int(d.Age) / 60})
	}
	want := []depth{{"default", 2, 60}, {"idle", 0, 0}, {"slow", 1, 5}}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("depths %v, want %v", got, want)
	}
}

package workload_test

import (
	"fmt"
	"regexp"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/workload"
)

func TestJobTypesAndQueues(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "book", "mail")
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book"), storetest.Delivery(4, "book", "old"))
	for n, change := range map[int]string{1: `state = 'running', attempt = 1`, 2: `state = 'retryable', attempt = 1`, 3: `state = 'discarded', attempt = 3, finalized_at = now()`} {
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET `+change+` WHERE args ->> 'event_key' = $1`, storetest.Key(storetest.Delivery(n)).String())
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'parked' WHERE job_kind = 'old'`)
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'a', 1, 'all', '{book}'), (gen_random_uuid(), 'b', 1, 'ingest', '{book}')`)
	types, err := workload.JobTypes(t.Context(), s.Pool())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range types {
		got = append(got, fmt.Sprintln(w.Kind, w.Registered(), w.Programs, w.Queued, w.Running, w.Retrying, w.Parked, w.Failed, w.Oldest != nil))
	}
	if want := fmt.Sprint([]string{"book true 1 1 1 1 0 1 true\n", "mail true 0 0 0 0 0 0 false\n", "old false 0 0 0 0 1 0 false\n"}); fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.river_queue (name, updated_at, paused_at) VALUES ('slow', now(), now())`)
	queues, err := workload.Queues(t.Context(), s.Pool())
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, q := range queues {
		got = append(got, fmt.Sprintln(q.Name, q.PausedAt != nil, q.Kinds, q.Queued, q.Running, q.Waiting, q.Oldest != nil))
	}
	if want := fmt.Sprint([]string{"default false [book mail] 2 1 1 true\n", "slow true [] 0 0 0 false\n"}); fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// The statements read no table whole.
func TestPlans(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	storetest.Fill(t, conn, 1, 20000)
	storetest.Exec(t, conn, `ANALYZE`)
	for name, sql := range map[string]string{"job types": workload.JobTypesSQL, "queues": workload.QueuesSQL} {
		plan := ""
		rows, err := conn.Query(t.Context(), `EXPLAIN `+regexp.MustCompile(`\$1`).ReplaceAllString(sql, "60"))
		for err == nil && rows.Next() {
			var line string
			err = rows.Scan(&line)
			plan += line + "\n"
		}
		if err != nil || rows.Err() != nil {
			t.Fatal(err, rows.Err())
		}
		if storetest.ReadsAll.MatchString(plan) {
			t.Errorf("%s reads a table whole:\n%s", name, plan)
		}
	}
}

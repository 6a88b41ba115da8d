package conflict_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/internal/storetest"
)

// A page of conflicts is read in the order of the list. Events are read for the
// conflicts of the page only.
func TestListPlans(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, 20_000)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.redeliveries SET differs = 'content', another_actor = event_id % 10 = 1 WHERE event_id % 5 = 1`)
	storetest.Exec(t, s.Pool(), `VACUUM ANALYZE lumin.redeliveries, lumin.events`)
	lookups := regexp.MustCompile(`Index Scan using events_pkey .*loops=(\d+)`)
	filter := pgx.NamedArgs{"event_id": 0, "source": "", "request": "", "another_actor": false, "undecided": false, "since": nil, "limit": 50,
		"after_at": time.Time{}, "after_event": 0, "after_body": ""}
	for name, arg := range map[string]any{
		"none": nil, "source": "account", "another source": "app:none", "another_actor": true, "undecided": true, "since": time.Now().Add(-time.Hour),
		"after_event": 10_001,
	} {
		t.Run(name, func(t *testing.T) {
			args := pgx.NamedArgs{}
			for key, value := range filter {
				args[key] = value
			}
			switch name {
			case "none":
			case "another source":
				args["source"] = arg
			case "after_event":
				args[name], args["after_at"], args["after_body"] = arg, time.Now().Add(time.Hour), "00"
			default:
				args[name] = arg
			}
			lines, err := query.Column[string](t.Context(), s.Pool(), "explain",
				`EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) `+conflict.ListSQL, pgx.QueryExecModeCacheDescribe, args)
			if err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(lines, "\n")
			if !strings.Contains(plan, "using redeliveries_conflict_list_idx") || storetest.ReadsAll.MatchString(plan) {
				t.Errorf("not in the order of the list:\n%s", plan)
			}
			if found := lookups.FindStringSubmatch(plan); found != nil && len(found[1]) > 2 {
				t.Errorf("reads %s events:\n%s", found[1], plan)
			}
		})
	}
}

func TestUndecidedPlan(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, 20_000)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.redeliveries SET differs = 'content' WHERE event_id % 50 = 1`)
	storetest.Exec(t, s.Pool(), `VACUUM ANALYZE lumin.redeliveries`)
	lines, err := query.Column[string](t.Context(), s.Pool(), "explain", `EXPLAIN `+strings.ReplaceAll(conflict.UndecidedSQL, "$1", "10000"))
	if err != nil {
		t.Fatal(err)
	}
	if plan := strings.Join(lines, "\n"); storetest.ReadsAll.MatchString(plan) {
		t.Errorf("reads all redeliveries:\n%s", plan)
	}
}

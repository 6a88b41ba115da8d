package monitoring

import (
	"cmp"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const (
	rulesFile     = "../../docs/monitoring/alerts.yml"
	dashboardFile = "../../docs/monitoring/dashboard.json"
)

// rules returns the alerts by name.
func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	alerts := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			alerts[rule.Alert] = rule
		}
	}
	return alerts
}

// series returns the names of the series that an expression reads.
func series(t *testing.T, expr string) (names []string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names
}

// Each expression of the rules and of the dashboard reads only series that a
// running service exports.
func TestExpressionsNameExportedMetrics(t *testing.T) {
	t.Parallel()
	exported := startService(t).names
	expressions := dashboardExpressions(t)
	for _, rule := range rules(t) {
		expressions = append(expressions, rule.Expr)
	}
	for _, expr := range expressions {
		names := series(t, expr)
		if len(names) == 0 {
			t.Errorf("%s reads nothing", expr)
		}
		for _, name := range names {
			if !exported[name] {
				t.Errorf("%s: the program has no metric %s", expr, name)
			}
		}
	}
}

func TestRulesAreComplete(t *testing.T) {
	t.Parallel()
	alerts := rules(t)
	for name, rule := range alerts {
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", name, severity)
		}
		if rule.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", name)
		}
		if _, tested := alertTests()[name]; !tested {
			t.Errorf("%s has no test", name)
		}
	}
	for name := range alertTests() {
		if _, exists := alerts[name]; !exists {
			t.Errorf("there is no alert %s", name)
		}
	}
}

// alertTest has two sets of series, in the syntax of promtool. The alert is
// evaluated after 120 steps: it must be there with the first set and not with the
// second. A step is a minute, or as long as step says.
type alertTest struct{ bad, good, step string }

func alertTests() map[string]alertTest {
	// The time of the evaluation is 7200, or 432000 with steps of an hour.
	return map[string]alertTest{
		"LuminNoProgram":             {bad: `lumin_database_up 0x120`, good: `lumin_build_info 1x120`},
		"LuminDatabaseDown":          {bad: `lumin_database_up 0x120`, good: `lumin_database_up 1x120`},
		"LuminDeliveriesUnavailable": {bad: `lumin_deliveries_total{source="account",result="unavailable",reason="overloaded"} 0x118 1 1`, good: `lumin_deliveries_total{source="account",result="unavailable",reason="overloaded"} 7x120`},
		"LuminKeyRotated":            {bad: `lumin_source_mismatches_since_verified{source="account"} 11x120`, good: `lumin_source_mismatches_since_verified{source="account"} 10x120`},
		"LuminSourceSilent": {
			bad:  `lumin_source_last_verified_timestamp_seconds{source="account"} 80000x120`,
			good: "lumin_source_last_verified_timestamp_seconds{source=\"account\"} 90000x120\n  lumin_source_last_verified_timestamp_seconds{source=\"app:new\"} 0x120",
			step: "1h",
		},
		"LuminSlowAnswers": {
			bad:  "lumin_delivery_seconds_bucket{source=\"account\",le=\"1\"} 0+98x120\n  lumin_delivery_seconds_bucket{source=\"account\",le=\"10\"} 0+100x120\n  lumin_delivery_seconds_bucket{source=\"account\",le=\"+Inf\"} 0+100x120",
			good: "lumin_delivery_seconds_bucket{source=\"account\",le=\"1\"} 0+100x120\n  lumin_delivery_seconds_bucket{source=\"account\",le=\"10\"} 0+100x120\n  lumin_delivery_seconds_bucket{source=\"account\",le=\"+Inf\"} 0+100x120",
		},
		"LuminFailedRuns":              {bad: `lumin_failed_runs{kind="book"} 1x120`, good: `lumin_failed_runs{kind="book"} 0x120`},
		"LuminOldPendingRun":           {bad: `lumin_oldest_pending_run_age_seconds 14401x120`, good: `lumin_oldest_pending_run_age_seconds 14400x120`},
		"LuminBacklog":                 {bad: `lumin_oldest_queued_job_age_seconds{queue="default"} 601x120`, good: `lumin_oldest_queued_job_age_seconds{queue="default"} 600x120`},
		"LuminUndownloadableContracts": {bad: `lumin_undownloadable_contracts 1x120`, good: `lumin_undownloadable_contracts 0x120`},
		"LuminLateEvents":              {bad: `lumin_waiting_late_events 1x120`, good: `lumin_waiting_late_events 0x120`},
		"LuminHeldLane":                {bad: `lumin_held_lanes{kind="book"} 1x120`, good: `lumin_held_lanes{kind="book"} 0x120`},
		"LuminEventsRecovered": {
			bad:  `lumin_recovered_events{event_type="signature_request_approved"} 3x118 4 4`,
			good: `lumin_recovered_events{event_type="signature_request_approved"} 4x120`,
		},
		"LuminJobsOverdue": {bad: `lumin_jobs_overdue{kind="book",queue="default"} 1x120`, good: `lumin_jobs_overdue{kind="book",queue="default"} 0x120`},
		// Of two programs, the one with the latest success counts.
		"LuminSweepStopped": {
			bad:  "lumin_housekeeping_last_success_timestamp_seconds{task=\"sweep\",instance=\"a\"} 6000x120\n  lumin_housekeeping_last_success_timestamp_seconds{task=\"sweep\",instance=\"b\"} 100x120",
			good: "lumin_housekeeping_last_success_timestamp_seconds{task=\"sweep\",instance=\"a\"} 6600x120\n  lumin_housekeeping_last_success_timestamp_seconds{task=\"sweep\",instance=\"b\"} 100x120",
		},
		"LuminRetentionStopped": {
			bad:  "lumin_housekeeping_last_success_timestamp_seconds{task=\"retain\"} -100x120\n  lumin_retention_removed_total{part=\"events\"} 5x120",
			good: "lumin_housekeeping_last_success_timestamp_seconds{task=\"retain\"} -100x120\n  lumin_retention_removed_total{part=\"events\"} 0+500x120",
		},
		"LuminReplayOpen":           {bad: `lumin_oldest_open_replay_age_seconds 86401x120`, good: `lumin_oldest_open_replay_age_seconds 0x120`},
		"LuminConnectionsNearLimit": {bad: "lumin_database_connections 91x120\n  lumin_database_connections_limit 100x120", good: "lumin_database_connections 90x120\n  lumin_database_connections_limit 100x120"},
		"LuminDatabaseLarge":        {bad: `lumin_database_size_bytes 101e9x120`, good: `lumin_database_size_bytes 99e9x120`},
		"LuminCertificateExpires":   {bad: `lumin_tls_certificate_expiry_timestamp_seconds 1216799x120`, good: `lumin_tls_certificate_expiry_timestamp_seconds 1216801x120`},
		"LuminConflict":             {bad: `lumin_conflicts_total{source="account",kind="another_actor"} 0x118 1 1`, good: `lumin_conflicts_total{source="account",kind="content"} 0x118 1 1`},
		"LuminLogLinesDropped":      {bad: `lumin_log_lines_dropped_total 0x118 5 5`, good: `lumin_log_lines_dropped_total 5x120`},
	}
}

// Each alert fires when it should, and only then.
func TestAlerts(t *testing.T) {
	t.Parallel()
	for name, rule := range rules(t) {
		test := alertTests()[name]
		for label, c := range map[string]struct {
			load   string
			alerts int
		}{"bad": {test.bad, 1}, "good": {test.good, 0}} {
			t.Run(name+"/"+label, func(t *testing.T) {
				engine := promqltest.NewTestEngine(t, false, time.Minute, 10_000)
				expr := strings.Join(strings.Fields(rule.Expr), " ")
				step := cmp.Or(test.step, "1m")
				script := "load " + step + "\n  " + c.load + "\n\neval instant at 120" + step[1:] + " count(" + expr + ") or vector(0)\n  {} " + []string{"0", "1"}[c.alerts] + "\n"
				promqltest.RunTest(t, script, engine)
			})
		}
	}
}

package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// neededRoles are the roles that operations need.
func neededRoles() map[string]string {
	return map[string]string{
		"list-names": "read", "find-job-type": "read", "list-errors": "read",
		"list-events": "read", "show-event": "read", "find-events-by-key": "read", "find-event-by-job": "read",
		"tail-events": "read", "search-events": "read", "show-signature-request": "read", "show-status": "read", "show-history": "read", "show-masked-body": "read", "reveal-body": "operate",
		"list-failures": "read", "plan-dismissal": "read", "dismiss": "operate", "plan-restoration": "read", "restore": "operate",
		"cancel-runs": "operate", "list-follow-ups": "read", "retry-follow-ups": "operate",
		"plan-replay": "read", "order-replay": "operate", "list-replays": "read", "show-replay": "read", "cancel-replay": "operate",
		"list-lanes": "read", "show-lane": "read", "list-lane-policies": "read", "skip-lane": "operate",
		"list-conflicts": "read", "show-signers": "read", "reveal-signers": "operate", "decide-conflict": "operate",
		"plan-erasure": "erase", "erase": "erase", "show-erasure": "read", "continue-erasure": "erase",
		"list-keys": "read", "list-programs": "read", "list-job-types": "read", "list-queues": "read", "list-sources": "read", "list-alerts": "read",
		"pause-queue": "operate", "resume-queue": "operate", "list-changes": "read",
	}
}

// Each operation is called with each role. One with too little is answered 403, and
// nothing has happened: the audit log is empty.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	order := []string{"none", "read", "operate", "erase"}
	rank := map[string]int{"read": 1, "operate": 2, "erase": 3}
	needed := neededRoles()
	for path, operations := range readDocument(r).Paths {
		for method, op := range operations {
			need, ok := needed[op.OperationID]
			if !ok {
				t.Errorf("%s is not in the table", op.OperationID)
				continue
			}
			if !strings.HasSuffix(op.Description, "Needs the role "+need+".") {
				t.Errorf("%s: the document has another role: %s", op.OperationID, op.Description)
			}
			delete(needed, op.OperationID)
			for i, role := range order[:rank[need]] {
				a := r.call(role, strings.ToUpper(method), concrete(path), exampleBody(t, op))
				want, code := http.StatusForbidden, "role_missing"
				if i == 0 {
					want, code = http.StatusUnauthorized, "not_signed_in"
				}
				if a.status != want || !strings.Contains(a.body, `"code":"`+code+`"`) || a.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s as %s: %d %s", op.OperationID, role, a.status, a.body)
				}
			}
		}
	}
	for id := range needed {
		t.Errorf("there is no operation %s", id)
	}
	if log := get[struct{ Changes []any }](r, "/audit-log"); len(log.Changes) != 0 {
		t.Errorf("changes: %v", log.Changes)
	}
	for path, operations := range readDocument(r).Paths {
		for method, op := range operations {
			need := neededRoles()[op.OperationID]
			if a := r.call(need, strings.ToUpper(method), concrete(path), exampleBody(t, op)); a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
				t.Errorf("%s as %s: %d %s", op.OperationID, need, a.status, a.body)
			}
		}
	}
}

// concrete gives values to the parameters of a path.
func concrete(path string) string {
	return strings.NewReplacer("{id}", "1", "{key}", "018a8f6c-0d2b-8e5b-9c1d-2f6a7b8c9d0e").Replace(path)
}

func exampleBody(t *testing.T, op documented) string {
	t.Helper()
	if op.RequestBody == nil {
		return ""
	}
	body, err := json.Marshal(op.RequestBody.Content["application/json"].Example)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

package api_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// Nothing that the role read can ask for shows personal data. A request for it
// leaves a row in the audit log.
func TestReadShowsNoPersonalData(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "greet"))
	other := delivery(1, "greet")
	other.Payload = []byte(strings.ReplaceAll(strings.ReplaceAll(string(other.Payload), "canary@", "canary2@"), "Canary Title", "another title"))
	r.record(other)
	r.fail()
	for path, operations := range readDocument(r).Paths {
		for method, op := range operations {
			if neededRoles()[op.OperationID] != "read" {
				continue
			}
			path := concrete(path)
			if len(op.Parameters) > 0 && op.OperationID == "show-signers" {
				path += "?event_id=1&body=" + bodyOfConflict(r)
			}
			a := r.call("read", strings.ToUpper(method), path, exampleBody(t, op))
			for _, canary := range []string{"canary@", "canary2@", "Canary Name", "canary-token", base64.StdEncoding.EncodeToString([]byte("canary"))} {
				if strings.Contains(a.body, canary) {
					t.Errorf("%s shows %q: %s", op.OperationID, canary, a.body)
				}
			}
		}
	}
	if a := r.call("read", http.MethodGet, "/events/1/payload", ""); a.status != http.StatusOK || !strings.Contains(a.body, "request-1") {
		t.Errorf("masked body: %d %s", a.status, a.body)
	}
	if a := r.call("operate", http.MethodPost, "/events/1/payload/reveal", ""); a.status != http.StatusOK || !strings.Contains(a.body, base64.StdEncoding.EncodeToString(delivery(1).Payload)) {
		t.Errorf("body: %d %s", a.status, a.body)
	}
	if a := r.call("read", http.MethodGet, "/audit-log", ""); strings.Count(a.body, `"action":"reveal"`) != 1 {
		t.Errorf("audit log: %s", a.body)
	}
}

func bodyOfConflict(r *rig) string {
	r.Helper()
	list := get[struct {
		Conflicts []struct{ Body string }
	}](r, "/conflicts")
	if len(list.Conflicts) != 1 {
		r.Fatalf("%d conflicts", len(list.Conflicts))
	}
	return list.Conflicts[0].Body
}

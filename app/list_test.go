package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apiclient "lumin-ingest/admin/api/client"
)

type listCommand interface {
	Run(ctx context.Context, std streams) error
}

// A list that a server has cut is printed, and the command fails.
func TestCutListsFail(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"more":true,"exact":true,"policies":{},
			"lanes":[{"job_kind":"book"}],"groups":[{"job_kind":"book"}],"follow_ups":[{"job_kind":"book","kind":"book"}]}`)
	}))
	defer server.Close()
	for name, run := range map[string]func(list listSettings, limit int) listCommand{
		"lanes": func(list listSettings, limit int) listCommand {
			return &lanesListCommand{listSettings: list, Limit: limit}
		},
		"failures": func(list listSettings, limit int) listCommand {
			return &failuresListCommand{listSettings: list, Limit: limit}
		},
		"dismissed": func(list listSettings, limit int) listCommand {
			return &failuresListCommand{listSettings: list, Limit: limit, Dismissed: true}
		},
		"follow-ups": func(list listSettings, limit int) listCommand {
			return &followUpsListCommand{listSettings: list, Limit: limit}
		},
	} {
		for _, output := range []string{"table", "json"} {
			for _, limit := range []int{1, 1000, 1001} {
				var list listSettings
				list.Server, list.Output = server.URL, output
				var out bytes.Buffer
				err := run(list, limit).Run(t.Context(), streams{out: &out, err: &out})
				if !strings.Contains(out.String(), "book") {
					t.Errorf("%s, %s, limit %d: printed %q", name, output, limit, out.String())
				}
				if limit <= 1000 && err != nil || limit > 1000 && !errors.Is(err, apiclient.ErrCut) {
					t.Errorf("%s, %s, limit %d: %v", name, output, limit, err)
				}
			}
		}
	}
}

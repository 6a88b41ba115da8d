package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"lumin-ingest/admin"
)

// /readyz reports that the database is down.
func ExampleNew() {
	handler := admin.New(admin.Config{
		Ready: []admin.Check{{
			Name:  "database",
			Probe: func(context.Context) error { return errors.New("connection refused") },
		}},
	})
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Print(response.Code, " ", response.Body)
	// Output:
	// 503 {"status":"not_ready","checks":[{"name":"database","ok":false,"error":"connection refused"}],"sources":[]}
}

package app

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The answers from before an error are shown: those deliveries are recorded.
func TestTriggerShowsAnswersBeforeAnError(t *testing.T) {
	t.Parallel()
	answers := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answers++; answers > 3 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":%d,"status":"recorded"}`, 70+answers)
	}))
	defer server.Close()
	c := triggerCommand{Scenario: "signing", Source: "account", Key: "k", URL: server.URL, Timeout: time.Minute}
	c.Output = "table"
	var out, errs bytes.Buffer
	err := c.Run(t.Context(), streams{out: &out, err: &errs})
	if err == nil || !strings.Contains(err.Error(), "nothing answers") {
		t.Errorf("%v", err)
	}
	for _, line := range []string{"created +200 +recorded +71", "viewed +200 +recorded +72", "signed +200 +recorded +73"} {
		if !regexp.MustCompile(line).MatchString(out.String()) {
			t.Errorf("%q is not in\n%s", line, out.String())
		}
	}
}

// If a program listens but does not answer, the advice is not to start one.
func TestTriggerNamesItsTimeout(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := triggerCommand{
		EventType: "signed", Source: "account", Key: "k", URL: "http://" + silent.Addr().String(), Timeout: 100 * time.Millisecond,
	}
	c.Output = "table"
	var out, errs bytes.Buffer
	err = c.Run(t.Context(), streams{out: &out, err: &errs})
	if err == nil || !strings.Contains(err.Error(), "did not answer within 100ms") || strings.Contains(err.Error(), "nothing answers") {
		t.Errorf("%v", err)
	}
}

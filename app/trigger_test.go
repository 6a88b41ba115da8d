package app

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

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

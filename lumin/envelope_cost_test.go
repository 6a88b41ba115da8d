package lumin_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

// Bodies that try to be expensive: one megabyte takes milliseconds and a few
// megabytes of memory. The limits are generous, so that the test also passes on
// a busy machine.
func TestDecodeEnvelopeCost(t *testing.T) {
	// Not parallel, because it measures the allocations of the whole process.
	for _, body := range []string{
		strings.Repeat("[", 1<<20),
		strings.Repeat("[", 1<<19) + strings.Repeat("]", 1<<19),
		strings.Repeat(`{"":`, 1<<18),
		"{" + strings.Repeat(`"\u0065vent":{},`, 1<<16) + `"event":{}}`,
		`{"event":{"event_type":"` + strings.Repeat(`\ud800`, 1<<17) + `"}}`,
		`{"` + strings.Repeat(`\\`, 1<<19) + `":1}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := lumin.DecodeEnvelope([]byte(body))
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("accepted %.40s", body)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; took > time.Second || allocated > 20<<20 {
			t.Errorf("%.20s...: took %v and %d MiB", body, took, allocated>>20)
		}
	}
}

func BenchmarkDecodeEnvelope(b *testing.B) {
	for _, test := range []struct{ name, body string }{
		{"205 bytes", documentedBody},
		{"1 MiB", bodyOfSize(1 << 20)},
		{"1 MiB of open arrays", strings.Repeat("[", 1<<20)},
	} {
		b.Run(test.name, func(b *testing.B) {
			body := []byte(test.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = lumin.DecodeEnvelope(body)
			}
		})
	}
	// For comparison: the standard library's check that the same body is JSON.
	b.Run("json.Valid of 1 MiB", func(b *testing.B) {
		body := []byte(bodyOfSize(1 << 20))
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			json.Valid(body)
		}
	})
	b.Run("json.Unmarshal of 205 bytes", func(b *testing.B) {
		body := []byte(documentedBody)
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var v struct {
				Event struct {
					EventTime json.RawMessage `json:"event_time"`
					EventType string          `json:"event_type"`
				} `json:"event"`
				SignatureRequest struct {
					ID string `json:"signature_request_id"`
				} `json:"signature_request"`
			}
			if err := json.Unmarshal(body, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// bodyOfSize returns a valid body of the given size: a signature request with
// many signers.
func bodyOfSize(size int) string {
	const signer = `{"name":"Ann \u00c9. Example","email":"ann@example.com","status":"NEED_TO_SIGN","is_approved":false,"group":1},`
	var signers strings.Builder
	for signers.Len()+len(signer)+300 < size {
		signers.WriteString(signer)
	}
	body := fmt.Sprintf(validBody, "", `,"signers":[`+signers.String()+`null]`, "")
	return body + strings.Repeat(" ", size-len(body))
}

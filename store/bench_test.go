package store_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// benchmarkCallers deliver at once, on a pool of benchmarkConns connections.
const (
	benchmarkCallers = 64
	benchmarkConns   = 16
)

// benchmarkRecord has callers record deliveries with a job each on a server
// that waits for its disk.
func benchmarkRecord(b *testing.B, prepare func(*store.Store) func(*testing.B, store.Delivery)) {
	server := ownServer(b, pgdev.Config{Durable: true})
	record := prepare(storeOn(b, pgtest.PoolOf(b, server.URL(), benchmarkConns)))
	var n atomic.Int64
	b.SetParallelism(benchmarkCallers / runtime.GOMAXPROCS(0))
	start := time.Now()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			record(b, delivery(int(n.Add(1)), "book"))
		}
	})
	b.ReportMetric(float64(n.Load())/time.Since(start).Seconds(), "deliveries/s")
}

// BenchmarkRecord measures the Recorder: callers share transactions.
func BenchmarkRecord(b *testing.B) {
	benchmarkRecord(b, func(s *store.Store) func(*testing.B, store.Delivery) {
		r := newRecorder(b, s)
		return func(b *testing.B, d store.Delivery) {
			if _, err := r.Record(b.Context(), d); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkRecordOneByOne is the same with a transaction for each delivery.
func BenchmarkRecordOneByOne(b *testing.B) {
	benchmarkRecord(b, func(s *store.Store) func(*testing.B, store.Delivery) {
		return func(b *testing.B, d store.Delivery) {
			if _, err := s.RecordBatch(b.Context(), d); err != nil {
				b.Error(err)
			}
		}
	})
}

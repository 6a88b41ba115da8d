package ingest

import "sync/atomic"

// DefaultBodyMemory is the [Config.MaxBodyMemory] of a Config that has none.
const DefaultBodyMemory = 64 << 20

// MinBodyMemory is the least [Config.MaxBodyMemory]: two bodies of the largest
// size, each with the smaller buffer that its bytes are copied from.
const MinBodyMemory = 4 << 20

// budget is the memory that all bodies may take together, in bytes. Its zero
// value has nothing left.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take reports whether n more bytes were left; if so, they are taken.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// give returns n bytes that were taken.
func (b *budget) give(n int64) { b.used.Add(-n) }

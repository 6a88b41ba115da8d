package ingest

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

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

	// Buffers of bodies that were refused or have outgrown them, by the logarithm of
	// their size. Without these a flood would make garbage of twice the budget.
	spare [21]sync.Pool
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

// buffer returns an empty buffer of size bytes, a power of two up to maxBody.
func (b *budget) buffer(size int) []byte {
	if spare, ok := b.spare[bits.TrailingZeros(uint(size))].Get().(*[]byte); ok {
		return (*spare)[:0]
	}
	return make([]byte, 0, size)
}

// recycle takes back what buffer returned. Nothing may refer to it any more.
func (b *budget) recycle(buffer []byte) {
	if cap(buffer) > 0 {
		b.spare[bits.TrailingZeros(uint(cap(buffer)))].Put(&buffer)
	}
}

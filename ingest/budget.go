package ingest

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// DefaultBodyMemory is the default of [Config.MaxBodyMemory], in bytes.
const DefaultBodyMemory = 64 << 20

// MinBodyMemory is the minimum of [Config.MaxBodyMemory], in bytes. It has room
// for two bodies of the maximum size, each with the smaller buffer that it is
// copied from.
const MinBodyMemory = 4 << 20

// budget limits the memory of all bodies together, in bytes. The zero value has
// no memory left.
type budget struct {
	limit int64
	used  atomic.Int64

	// Buffers of refused bodies and outgrown buffers, by the logarithm of their
	// size. Without reuse, a flood would produce garbage of twice the budget.
	spare [21]sync.Pool
}

// take takes n bytes if they are available, and reports whether it did.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// give returns n bytes to the budget.
func (b *budget) give(n int64) { b.used.Add(-n) }

// buffer returns an empty buffer of size bytes, a power of two up to maxBody.
func (b *budget) buffer(size int) []byte {
	if spare, ok := b.spare[bits.TrailingZeros(uint(size))].Get().(*[]byte); ok {
		return (*spare)[:0]
	}
	return make([]byte, 0, size)
}

// recycle takes back a buffer. No reference to it may remain.
func (b *budget) recycle(buffer []byte) {
	if cap(buffer) > 0 {
		b.spare[bits.TrailingZeros(uint(cap(buffer)))].Put(&buffer)
	}
}

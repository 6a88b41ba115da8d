package store

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGather(t *testing.T) {
	t.Parallel()
	now := time.Now()
	begun := func(n int) (g gather) { g.begun(n, now); return g }
	ended := func(n, waiting int, took time.Duration) (g gather) { g.ended(n, waiting, took, now); return g }
	for name, c := range map[string]struct {
		gather  gather
		waiting int
		after   time.Duration
		want    time.Duration
	}{
		"at the start":                                {gather{}, 1, 0, 0},
		"a small batch is under way":                  {begun(gatherFrom - 1), 1, 0, 0},
		"a batch is under way":                        {begun(20), 39, 0, gatherWhile},
		"a batch is under way for too long":           {begun(20), 1, gatherWhile, 0},
		"as many as two such batches wait":            {begun(20), 40, 0, 0},
		"a long queue, although a batch is under way": {begun(maxBatch), gatherTo, 0, 0},
		"a small batch has ended":                     {ended(gatherFrom-1, 50, time.Second), 1, 0, 0},
		"a batch has ended":                           {ended(20, 10, 4*time.Millisecond), 29, 0, 2 * time.Millisecond},
		"a batch has ended, and all are back":         {ended(20, 10, 4*time.Millisecond), 30, 0, 0},
		"a slow batch has ended":                      {ended(20, 0, time.Second), 1, 0, gatherTime},
		"a batch ended some time ago":                 {ended(20, 0, 4*time.Millisecond), 1, 3 * time.Millisecond, 0},
	} {
		if got := c.gather.rest(c.waiting, now.Add(c.after)); got != c.want {
			t.Errorf("%s: a flusher waits for %v, want %v", name, got, c.want)
		}
	}
}

// A flusher that waits for a larger batch goes when it is complete, when the
// time is up, and when the queue is closed.
func TestFlusherWaitsForBatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		later func(*queue)
		want  time.Duration
		size  int
	}{
		"time is up": {func(*queue) {}, gatherTime, 1},
		"complete": {func(q *queue) {
			for range gatherFrom - 1 {
				q.add(&pending{})
			}
		}, time.Millisecond, gatherFrom},
		"incomplete": {func(q *queue) { q.add(&pending{}) }, gatherTime, 2},
		"closed":     {(*queue).close, time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var q queue
				q.init(&mu)
				start := time.Now()
				var took [flushers]time.Duration
				var sizes [flushers]int
				var all sync.WaitGroup
				for i := range flushers { // the second one sleeps until the queue is closed
					all.Go(func() {
						mu.Lock()
						defer mu.Unlock()
						if q.ready() {
							took[i], sizes[i] = time.Since(start), len(q.waiting)
							q.waiting = nil
						}
					})
				}
				synctest.Wait()
				mu.Lock()
				q.ended(gatherFrom, 0, time.Second, time.Now())
				q.add(&pending{})
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				c.later(&q)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				q.close()
				mu.Unlock()
				all.Wait()
				if took[0]+took[1] != c.want || sizes[0]+sizes[1] != c.size {
					t.Errorf("batches of %v after %v, want one of %d after %v", sizes, took, c.size, c.want)
				}
			})
		})
	}
}

// What does not fit into a batch is taken by another flusher, even while the
// batch is stuck.
func TestRestOfQueueIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &Recorder{}
		r.main.init(&r.mu)
		const rest = 3
		start := time.Now()
		took := make(chan time.Duration, flushers)
		for range flushers {
			go func() {
				if n := len(r.take(&r.main)); n == rest {
					took <- time.Since(start)
				}
			}()
		}
		synctest.Wait()
		r.mu.Lock()
		for range maxBatch + rest {
			r.main.waiting = append(r.main.waiting, &pending{delivery: &Delivery{}})
		}
		r.main.wake.Signal()
		r.mu.Unlock()
		time.Sleep(time.Second)
		r.closeQueue(&r.main)
		if got := <-took; got != gatherWhile {
			t.Errorf("the rest was taken after %v, want %v", got, gatherWhile)
		}
	})
}

// Large bodies go in small batches: the memory of a batch is several times the
// size of its bodies. A body that alone exceeds the limit is taken alone.
func TestBatchBytes(t *testing.T) {
	t.Parallel()
	sized := func(size int) *pending { return &pending{delivery: &Delivery{Payload: make([]byte, size)}} }
	for name, c := range map[string]struct {
		sizes []int
		want  int
	}{
		"a batch that is full": {[]int{maxBatchBytes / 2, maxBatchBytes / 2, 1}, 2},
		"one byte too much":    {[]int{maxBatchBytes / 2, maxBatchBytes/2 + 1}, 1},
		"one that is larger":   {[]int{maxBatchBytes + 1, 1}, 1},
		"a larger one later":   {[]int{1, maxBatchBytes, 1}, 1},
		"as much as there is":  {[]int{1, 2, 3}, 3},
		"bodies of no bytes":   {[]int{0, maxBatchBytes, 0}, 3},
	} {
		r := &Recorder{}
		r.main.init(&r.mu)
		sum := 0
		for _, size := range c.sizes {
			r.add(&r.main, sized(size))
			sum += size
		}
		batch := r.take(&r.main)
		taken := 0
		for _, p := range batch {
			taken += len(p.delivery.Payload)
		}
		if len(batch) != c.want || r.bytes != sum-taken || len(r.main.waiting) != len(c.sizes)-c.want {
			t.Errorf("%s: took %d of %v, want %d; %d bytes wait", name, len(batch), c.sizes, c.want, r.bytes)
		}
	}
}

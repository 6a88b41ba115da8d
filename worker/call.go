package worker

import (
	"context"
	"time"
)

// abandonAfter is how long code may take to notice that its connection was
// closed.
const abandonAfter = time.Second

// call runs the code of a job type. The task has ended when call returns,
// unless the claim is overdue.
//
// The connection of code that keeps running after its timeout is closed after
// another timeoutGrace. Otherwise its transaction would hold the runs, and all
// that it has locked, until the code returns. The attempt then fails. If the
// code runs on nevertheless, the claim is overdue, and its connection leaves the
// pool so that other attempts can have one.
func (c *claim) call(ctx context.Context, code func() error) *task {
	socket := c.conn.PgConn().Conn()
	t := begin(code)
	select {
	case <-t.done:
		return t
	case <-ctx.Done():
	}
	if t.endsWithin(timeoutGrace) {
		return t
	}
	_ = socket.Close()
	if !t.endsWithin(abandonAfter) {
		c.overdue = true
		c.pooled.Hijack()
	}
	return t
}

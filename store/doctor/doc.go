// Package doctor examines the database for the command doctor: the server and its
// settings, the queue, and the sessions that hold locks.
//
//	server, err := doctor.ExamineServer(ctx, pool)
//	queue, err := doctor.ExamineQueue(ctx, pool, 4*time.Hour)
//	holders, err := doctor.Holders(ctx, pool, time.Minute)
//
// Use it to look for problems; what they mean and what to do is up to the caller.
// It guarantees that it changes nothing and waits for no lock.
package doctor

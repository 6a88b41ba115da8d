// Package doctor examines the database for the command doctor: the server and its
// settings, the queue, and the sessions that hold locks.
//
//	server, err := doctor.ExamineServer(ctx, pool)
//	queue, err := doctor.ExamineQueue(ctx, pool, 4*time.Hour)
//	holders, err := doctor.Holders(ctx, pool, time.Minute)
//
// Use it to find problems. The caller explains them and suggests remedies. The
// package guarantees that it changes nothing and waits for no lock.
package doctor

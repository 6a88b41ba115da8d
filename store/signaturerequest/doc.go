// Package signaturerequest keeps lumin.signature_requests, the latest state of
// each signature request. The job type signature_request_state writes it, and
// reconcile compares it with Lumin.
//
//	row, err := signaturerequest.Lock(ctx, tx, id)
//	row.Status = &status
//	err = signaturerequest.Update(ctx, tx, row)
//
// It guarantees that two events of one signature request are merged one after the
// other, because [Lock] keeps the row locked until its transaction ends.
package signaturerequest

// Package once carries out an order once, however often it is sent.
//
// A sender that loses the answer to its order has to send the order again, with the
// same key. The first request claims the key, and stores its answer. The others get
// that answer.
//
//	claim, err := orders.Claim(ctx, once.ID(caller, key), request)
//	if claim.Answer != nil {
//		return claim.Answer, nil
//	}
//	answer, err := carryOut(ctx, claim.Token)
//	if err != nil {
//		return nil, errors.Join(err, orders.Release(ctx, claim))
//	}
//	return answer, orders.Finish(ctx, claim, answer)
//
// A program may end after the change and before its answer is stored. The claim
// then expires, and a repeated order goes on with the same token. A change that
// stores the token, as replays and erasures do, is still made once.
package once

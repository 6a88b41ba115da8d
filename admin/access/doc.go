// Package access decides who may use the dashboard, its API and River UI, and what
// they may do there.
//
// Use it as middleware around everything on the admin listener but health and
// metrics:
//
//	guard := access.New(access.Config{Local: true, Tokens: tokens, Logger: logger})
//	group := e.Group("", guard.Protect, access.Changes())
//	group.POST("/erase", erase, access.Require(access.Erase))
//
// A handler asks [From] who calls. There are three ways in:
//
//   - A token, as a bearer token or through the sign-in page, which starts a session.
//   - A header with the user's name from a trusted proxy that has signed them in.
//   - Without either configured: any caller, if the listener is bound to a loopback
//     address. Bound elsewhere, everything is refused, and the page says how to set a
//     token.
//
// What it guarantees:
//
//   - Everything behind Protect needs at least the role read.
//   - A request that changes something and comes from a page of another site is
//     refused.
//   - Without tokens, a request for another Host than a loopback name or one of Hosts
//     is refused, and so is one that a proxy has forwarded. So no page can reach the
//     dashboard through a name that it controls.
//   - A session ends when it expires, when its user signs out, and when its token is
//     removed. Sessions are kept in memory: a restart ends all.
//   - Failed attempts are limited per address and overall, logged without the token,
//     and counted. The overall limit refuses no token that is right.
//   - What a proxy sends as Authorization beside the user whom it has signed in is no
//     attempt. It counts only if it is one of our tokens.
//   - Every response has a strict Content-Security-Policy and may be neither framed
//     nor cached.
package access

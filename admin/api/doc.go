// Package api serves what an operator can see and do as an HTTP API: JSON, with
// an OpenAPI 3.1 document that is made from the code.
//
// Use it below /api/v1 of the admin listener, behind package access, which puts
// the caller into the context of each request. The command line uses it through
// package client.
//
// Guarantees:
//
//   - Each operation needs a role: read, operate or erase. A caller with less is
//     answered 403, and nothing happens.
//
//   - An error is a problem as in RFC 9457, with a code that does not change.
//
//   - Unknown parameters and members are refused: a filter with a spelling
//     mistake would otherwise choose more than intended.
//
//   - Lists come in pages of a bounded size.
//
//   - No answer to the role read contains a body, a name or an address.
//
//     e := echo.New()
//     api.Register(e, e.Group(api.Prefix), api.Config{Window: window.New(st), Logger: logger})
package api

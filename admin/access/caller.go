package access

import (
	"context"

	"lumin-ingest/store/operate"
)

// Caller is who makes a request.
type Caller struct {
	Name string // of the token, or of the proxy's user; "local user" if neither is configured
	Role Role
	From string // IP address

	// Proxied is true if a proxy has signed the caller in. A token may have the same
	// name, and be of someone else.
	Proxied bool

	// Session is true if the caller has signed in on the sign-in page, and so can
	// sign out.
	Session bool
}

// Actor returns the caller for the audit log. via is operate.Dashboard or
// operate.API.
func (c Caller) Actor(via string) operate.Actor {
	return operate.Actor{Name: c.Name, From: c.From, Via: via}
}

// ID identifies the caller: unlike Name, it is of one token or of one proxy's user.
func (c Caller) ID() string {
	if c.Proxied {
		return "proxy\x00" + c.Name // no token has such a name
	}
	return c.Name
}

type callerKey struct{}

// With returns a context that carries the caller. Tests of handlers use it.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller of a request's context. It is zero, and so may do
// nothing, if the request did not pass [Guard.Protect].
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

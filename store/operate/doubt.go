package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// once is like Do, for a change that is carried out in full or not at all. Its error
// wraps [ErrInDoubt] if the answer of the database was lost.
func (o *Operator) once(ctx context.Context, by Actor, c Change, make func(context.Context) (any, error)) error {
	return o.Do(ctx, by, c, func(ctx context.Context) (any, error) {
		result, err := make(ctx)
		return result, inDoubt(err)
	})
}

// inDoubt marks an error that leaves open whether a statement took effect. After an
// error of the server it had none, and without a connection it was not sent.
func inDoubt(err error) error {
	var (
		server  *pgconn.PgError
		connect *pgconn.ConnectError
		network net.Error // also the end of a context's time
	)
	closed := errors.Is(err, pgconn.ErrConnClosed) // also after a lost answer
	if errors.As(err, &server) || errors.As(err, &connect) || pgconn.SafeToRetry(err) && !closed {
		return err
	}
	if closed || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", ErrInDoubt, err)
	}
	return err
}

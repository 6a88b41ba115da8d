package worker

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// closedTx is a transaction whose methods all return [pgx.ErrTxClosed].
func closedTx() pgx.Tx {
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{})
	return pgx.FailedBatchResults(batch, pgx.ErrTxClosed).Tx()
}

// closedConn returns a closed connection for code that asks for one after its
// attempt: a nil connection would make that code crash the program. It has the
// settings of a real connection, but was never connected to a database.
func closedConn(cfg *pgx.ConnConfig) *pgx.Conn {
	ctx := context.Background()
	cfg.TLSConfig, cfg.Fallbacks, cfg.Tracer = nil, nil, nil
	cfg.AfterConnect, cfg.ValidateConnect, cfg.ConnectTimeout = nil, nil, 0
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"closed"}, nil }
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go acceptConn(theirs)
		return ours, nil
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil
	}
	_ = conn.Close(ctx)
	return conn
}

// acceptConn acts as a server that accepts a connection and then sends nothing.
func acceptConn(conn net.Conn) {
	defer conn.Close()
	var length uint32 // of the startup message, which counts itself
	if binary.Read(conn, binary.BigEndian, &length) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, conn, int64(length)-4); err != nil {
		return
	}
	// AuthenticationOk and ReadyForQuery, idle.
	if _, err := io.WriteString(conn, "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn)
}

// riverDriver is the package of River that reads a setting from the connection
// of a transaction and does not keep the connection. A test checks this.
const riverDriver = "github.com/riverqueue/river/riverdriver/riverpgxv5."

// calledByRiver reports whether River's driver called the method that calls
// this function.
func calledByRiver() bool {
	var callers [1]uintptr
	if runtime.Callers(3, callers[:]) == 0 {
		return false
	}
	frame, _ := runtime.CallersFrames(callers[:]).Next()
	return strings.HasPrefix(frame.Function, riverDriver)
}

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTimeout bounds how long a connection may take, unless the URL says so.
const connectTimeout = 5 * time.Second

// OpenPool makes a pool of at most maxConns connections, none of them made yet,
// that does not depend on what a role or database has for defaults: texts are
// UTF-8, and every statement sees what is committed when it starts. River's
// statements and a job type's own count on that as much as ours. The error does
// not show databaseURL, which may hold a password.
func OpenPool(ctx context.Context, databaseURL string, maxConns int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, errors.New("not a PostgreSQL URL")
	}
	cfg.MaxConns = int32(maxConns)
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "lumin-ingest"
	}
	// Startup parameters, so that RESET ALL returns to them.
	cfg.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	cfg.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the connection pool: %w", err)
	}
	return pool, nil
}

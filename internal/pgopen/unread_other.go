//go:build !unix

package pgopen

import "github.com/jackc/pgx/v5"

// hasUnread cannot look into a socket on this system.
func hasUnread(*pgx.Conn) bool { return false }

//go:build !linux

package pgopen

import "syscall"

// limitUnacked does nothing, because the system has no such limit per
// connection.
func limitUnacked(string, string, syscall.RawConn) error { return nil }

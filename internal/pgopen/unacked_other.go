//go:build !linux

package pgopen

import "syscall"

// limitUnacked does nothing where the system has no such limit for a connection.
func limitUnacked(string, string, syscall.RawConn) error { return nil }

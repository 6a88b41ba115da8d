//go:build !unix

package pgdev

import (
	"context"
	"errors"
)

var errUnsupported = errors.New("a private PostgreSQL server needs a unix system; " +
	"set DEV_DATABASE_URL, or TEST_DATABASE_URL for tests, to a running server, or use docker compose up")

// Server is not available on this system.
type Server struct{}

// Start returns an error that names the alternatives.
func Start(context.Context, Config) (*Server, error) { return nil, errUnsupported }

// URL returns nothing on this system.
func (s *Server) URL() string { return "" }

// DatabaseURL returns nothing on this system.
func (s *Server) DatabaseURL(string) string { return "" }

// Dir returns nothing on this system.
func (s *Server) Dir() string { return "" }

// PID returns 0 on this system.
func (s *Server) PID() int { return 0 }

// Halt returns an error on this system.
func (s *Server) Halt(ShutdownMode) error { return errUnsupported }

// Resume returns an error on this system.
func (s *Server) Resume(context.Context) error { return errUnsupported }

// Close does nothing on this system.
func (s *Server) Close() error { return nil }

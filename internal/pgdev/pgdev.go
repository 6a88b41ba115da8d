//go:build unix

package pgdev

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// superuser is the name that PostgreSQL's documentation and most images use.
	superuser = "postgres"
	// startTimeout bounds initdb and the server's start; both together take about a second on two cores.
	startTimeout = time.Minute
	// haltTimeout bounds an orderly shutdown, which writes out all that is in memory.
	haltTimeout = time.Minute
	// portAttempts and portPause bound the wait for a port that somebody else has taken: two seconds in all.
	portAttempts = 20
	portPause    = 100 * time.Millisecond
)

// Server is a private PostgreSQL server. Its methods may be called from several goroutines; one that changes its state waits for
// the others.
type Server struct {
	programs programs
	settings map[string]string
	dir      directory
	log      *os.File
	password string

	mu       sync.Mutex
	port     int       // fixed once Start has returned
	watchdog *watchdog // nil once closed
	run      *run      // nil while halted
}

// Start makes a new server with an empty database "postgres" and returns when it accepts connections. It gives up when ctx ends or
// after a minute, a download of PostgreSQL not counted, and then leaves nothing behind. Once it has returned, ctx no longer matters:
// the server runs until Close or until this process ends.
//
// Where no PostgreSQL programs can be had, the error says in several lines what its reader can do.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start a private PostgreSQL server: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, cfg Config) (*Server, error) {
	settings, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	owner, err := findAccount()
	if err != nil {
		return nil, err
	}
	found, err := newSearch(owner).find(ctx, cfg.BinDir)
	if err != nil {
		return nil, err
	}
	s := &Server{programs: found, settings: settings, password: rand.Text()}
	if _, err := clientConfig(s.address(1, "postgres")); err != nil { // the port does not matter; better known now than after initdb
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	fill := func(ctx context.Context) error { return s.initialize(ctx, cfg.Durable) }
	if err := s.create(ctx, owner, fill); err != nil {
		return nil, err
	}
	return s, nil
}

// create has the folder made and guarded, fills it and starts the server.
func (s *Server) create(ctx context.Context, owner account, fill func(context.Context) error) (err error) {
	if s.dir, err = newDirectory(ctx, owner); err != nil {
		return err
	}
	if s.watchdog, err = startWatchdog(s.dir); err != nil {
		return err
	}
	if s.log, err = s.dir.create("server.log"); err == nil {
		err = fill(ctx)
	}
	if err == nil {
		err = s.launch(ctx, freePort)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// initialize runs initdb. The password reaches it in a file, because command lines can be read by everybody.
func (s *Server) initialize(ctx context.Context, durable bool) error {
	file, err := s.dir.create("password")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(s.password + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	args := []string{
		"--pgdata=" + s.dir.data(), "--username=" + superuser, "--pwfile=" + file.Name(),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
	}
	if !durable {
		args = append(args, "--no-sync")
	}
	output, err := s.dir.owner.command(ctx, s.programs.initdb(), args...).CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("run initdb: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("run %s as %s: %w; it said:\n%s", s.programs.initdb(), s.dir.owner.name, err, lastLines(string(output)))
	}
	return nil
}

// URL returns the address of the database "postgres" for a superuser:
// postgres://USER:PASSWORD@127.0.0.1:PORT/postgres?sslmode=disable. It stays the same for the life of the server.
func (s *Server) URL() string { return s.DatabaseURL("postgres") }

// DatabaseURL returns the same address for another database, which need not exist.
func (s *Server) DatabaseURL(name string) string { return s.address(s.port, name) }

func (s *Server) address(port int, database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     "127.0.0.1:" + strconv.Itoa(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return address.String()
}

// Dir returns the private folder of the server. Its log is the file server.log in it.
func (s *Server) Dir() string { return s.dir.path }

// PID returns the process id of the postmaster, the server's main process; 0 when it is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil || s.run.ended() {
		return 0
	}
	return s.run.cmd.Process.Pid
}

// Halt stops the server and keeps its data for Resume. When it returns nil, all processes of the server are gone, those of its open
// connections included, in every mode. Halting a server that is not running does nothing. Halt refuses a server whose folder is
// no longer the one that Start made, and gives up after a minute.
func (s *Server) Halt(mode ShutdownMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("halt the private PostgreSQL server: %w", err)
	}
	if err := s.halt(mode); err != nil {
		return fmt.Errorf("halt the private PostgreSQL server: %w", err)
	}
	return nil
}

// Resume starts the server again after Halt, or after it ended by itself: same port, same password, same data. It returns when the
// server accepts connections. Resuming a server that runs does nothing. Resume refuses a server whose folder is no longer the one
// that Start made, and gives up when ctx ends or after a minute; it can then be called again.
func (s *Server) Resume(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return fmt.Errorf("resume the private PostgreSQL server: %w", err)
	}
	if s.run != nil && !s.run.ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.settle() // it may have ended without Halt
	if err == nil {
		err = s.launch(ctx, func() (int, error) { return s.port, nil })
	}
	if err != nil {
		return fmt.Errorf("resume the private PostgreSQL server: %w", err)
	}
	return nil
}

// Close stops the server and deletes its folder. Closing a closed server does nothing and returns nil. Close refuses a server whose
// folder is no longer the one that Start made: then nothing is deleted, the server still runs, and Close can be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchdog == nil {
		return nil
	}
	if err := s.dir.check(); err != nil {
		return fmt.Errorf("close the private PostgreSQL server: %w", err)
	}
	haltErr := s.halt(Immediate)
	s.watchdog.release() // a server that could not be halted is its to end
	s.watchdog = nil
	_ = s.log.Close() // nil, and harmless, if it was never opened
	if _, err := os.Lstat(s.dir.path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := errors.Join(haltErr, s.dir.remove()); err != nil { // the watchdog did not live to do it
		return fmt.Errorf("close the private PostgreSQL server: %w", err)
	}
	return nil
}

// usable returns an error unless the server may be halted and resumed.
func (s *Server) usable() error {
	if s.watchdog == nil {
		return errors.New("it is closed; start a new one")
	}
	return s.dir.check()
}

// logSince returns the last lines that the server logged after the given size of its log.
func (s *Server) logSince(size int64) string {
	info, err := s.log.Stat()
	if err != nil || info.Size() <= size {
		return "(nothing)"
	}
	const enough = 16 << 10
	text := make([]byte, min(info.Size()-size, enough))
	n, _ := s.log.ReadAt(text, info.Size()-int64(len(text)))
	return lastLines(string(bytes.ToValidUTF8(text[:n], []byte("?"))))
}

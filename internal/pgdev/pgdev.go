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
	// superuser is the superuser's name in PostgreSQL's documentation and most
	// images.
	superuser = "postgres"
	// startTimeout limits initdb and the server's start. Both together take
	// about a second on two cores.
	startTimeout = time.Minute
	// haltTimeout limits a shutdown. An orderly one writes all data from memory
	// to disk.
	haltTimeout = time.Minute
	// portAttempts and portPause limit the wait for a port that another process
	// uses: two seconds in total.
	portAttempts = 20
	portPause    = 100 * time.Millisecond
)

// Server is a private PostgreSQL server. It is safe for concurrent use. Methods
// that change its state run one at a time.
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

// Start creates a server with an empty database "postgres" and returns when the
// server accepts connections. It fails when ctx ends or after a minute, not
// counting a download of PostgreSQL. A failed Start leaves nothing behind.
// After Start has returned, ctx has no effect: the server runs until Close or
// until this process ends.
//
// If there are no PostgreSQL programs, the error lists the alternatives on
// several lines.
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
	found, err := newSearch(owner, cfg.Download).find(ctx, cfg.BinDir)
	if err != nil {
		return nil, err
	}
	s := &Server{programs: found, settings: settings, password: rand.Text()}
	if _, err := clientConfig(s.address(1, "postgres")); err != nil { // checked before the slow initdb; any port will do
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

// create creates the folder with its watchdog, fills the folder and starts the
// server.
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

// initialize runs initdb. It passes the password in a file, because every user
// can read command lines.
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
		return fmt.Errorf("run %s as %s: %w; its output:\n%s", s.programs.initdb(), s.dir.owner.name, err, lastLines(string(output)))
	}
	return nil
}

// URL returns the superuser's URL of the database "postgres":
// postgres://USER:PASSWORD@127.0.0.1:PORT/postgres?sslmode=disable. It never
// changes during the life of the server.
func (s *Server) URL() string { return s.DatabaseURL("postgres") }

// DatabaseURL returns the same URL for another database. That database need not
// exist.
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

// Dir returns the private folder of the server. The file server.log in it is
// the server's log.
func (s *Server) Dir() string { return s.dir.path }

// PID returns the process id of the postmaster, the server's main process. It
// returns 0 if the server is not running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil || s.run.ended() {
		return 0
	}
	return s.run.cmd.Process.Pid
}

// Halt stops the server and keeps its data for Resume. When it returns nil, all
// processes of the server have ended, including those of open connections, in
// every mode. Halting a server that is not running does nothing. Halt fails if
// the folder is no longer the one that Start created, and after a minute.
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

// Resume restarts the server after Halt or after a crash, with the same port,
// password and data. It returns when the server accepts connections. Resuming a
// running server does nothing. Resume fails if the folder is no longer the one
// that Start created, when ctx ends, and after a minute. It can then be called
// again.
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

// Close stops the server and deletes its folder. Closing a closed server does
// nothing and returns nil. Close fails if the folder is no longer the one that
// Start created. Then nothing is deleted, the server still runs, and Close can
// be called again.
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
	s.watchdog.release() // it also ends a server that could not be halted
	s.watchdog = nil
	_ = s.log.Close() // nil, and harmless, if it was never opened
	if _, err := os.Lstat(s.dir.path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := errors.Join(haltErr, s.dir.remove()); err != nil { // the watchdog was killed before it could delete the folder
		return fmt.Errorf("close the private PostgreSQL server: %w", err)
	}
	return nil
}

// usable returns an error if the server is closed or its folder was replaced.
func (s *Server) usable() error {
	if s.watchdog == nil {
		return errors.New("it is closed; start a new one")
	}
	return s.dir.check()
}

// logSince returns the last lines of the log after the first size bytes.
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

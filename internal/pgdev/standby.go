//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// StartStandby copies a running server and starts the copy as its streaming
// standby. The standby has its own port and the same settings and passwords.
// StartStandby returns when the standby answers queries. name identifies the
// standby in synchronous_standby_names. It consists of letters, digits and
// underscores.
//
// Like Start, it fails when ctx ends or after a minute, and then leaves nothing
// behind. It needs the program pg_basebackup in the folder of the server's
// programs.
func StartStandby(ctx context.Context, primary *Server, name string) (*Server, error) {
	s := &Server{programs: primary.programs, settings: primary.settings, password: primary.password}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	fill := func(ctx context.Context) error { return s.copyFrom(ctx, primary, name) }
	if err := s.create(ctx, primary.dir.owner, fill); err != nil {
		return nil, fmt.Errorf("start a standby of a private PostgreSQL server: %w", err)
	}
	return s, nil
}

// copyFrom fills the data folder with a base backup. It passes the password to
// pg_basebackup, and later to the standby, in a file, because every user can
// read command lines.
func (s *Server) copyFrom(ctx context.Context, primary *Server, name string) error {
	if !settingName.MatchString(name) {
		return fmt.Errorf("%q is not a valid name for a standby; use letters, digits and underscores", name)
	}
	if _, err := os.Stat(s.programs.basebackup()); err != nil {
		return fmt.Errorf("%w; install PostgreSQL's client programs in the same folder as the server's", err)
	}
	passwords, err := s.dir.create("pgpass")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(passwords, "127.0.0.1:%d:*:%s:%s\n", primary.port, superuser, s.password)
	if err = errors.Join(err, passwords.Close()); err != nil {
		return err
	}
	from := "host=127.0.0.1 port=" + strconv.Itoa(primary.port) + " user=" + superuser +
		" sslmode=disable application_name=" + name + " passfile=" + passwords.Name()
	output, err := s.dir.owner.command(ctx, s.programs.basebackup(), "--pgdata="+s.dir.data(), "--dbname="+from,
		"--write-recovery-conf", "--checkpoint=fast", "--no-sync").CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("run pg_basebackup: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("run pg_basebackup: %w; its output:\n%s", err, lastLines(string(output)))
	}
	return nil
}

// Promote turns a standby into a primary and returns when it accepts writes.
// Stop the old primary first: this package does not keep clients away from it.
func (s *Server) Promote(ctx context.Context) error {
	if err := s.promote(ctx); err != nil {
		return fmt.Errorf("promote the private PostgreSQL server: %w", err)
	}
	return nil
}

func (s *Server) promote(ctx context.Context) error {
	config, err := clientConfig(s.URL())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var promoted bool
	if err := conn.QueryRow(ctx, `SELECT pg_promote(true, 60)`).Scan(&promoted); err != nil {
		return err
	}
	if !promoted {
		return errors.New("it did not become a primary within 60 s")
	}
	return nil
}

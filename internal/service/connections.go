package service

import (
	"context"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/store/catalog"
)

// sessionConns are the connections that belong to no pool: River waits for
// notifications on one, and the other holds the lock of the program's jobs.
const sessionConns = 2

// connections returns the number of connections that the service takes at most,
// without those of JobsDB, which most job types do not use.
func (c Config) connections() int {
	n := adminPool().MaxConns + pagesPool().MaxConns + riverUIPool().MaxConns
	if c.Ingest {
		n += recordPool().MaxConns
	}
	if c.Work {
		w := c.worker()
		n += workPool(w).MaxConns + riverPool(w).MaxConns + sessionConns + jobPool(w).MaxConns
	}
	return n
}

// checkConnections logs a warning if the server cannot give all running programs
// and this one what they may take. It must be called before the heartbeat.
func (s *Service) checkConnections(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	c, err := catalog.ExamineConnections(ctx, s.store.Pool())
	if err != nil {
		s.cfg.Logger.Warn("cannot check the number of connections", "reason", errtext.OneLine(err))
		return
	}
	c.Programs++
	c.Needed += s.cfg.connections()
	if !c.Enough() {
		s.cfg.Logger.Warn("PostgreSQL has too few connections for all programs", "found", c.String(), "advice", advice.FewConnections)
	}
}

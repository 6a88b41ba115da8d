package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// recall looks up when each source last had a delivery, so that its age does not
// start anew with the program.
func (s *service) recall(ctx context.Context) error {
	if s.handler == nil {
		return nil
	}
	uses, err := s.store.KeyUse(ctx)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		s.cfg.logger.Warn("the role may not look up when each source last had a delivery",
			"remedy", "GRANT SELECT ON lumin.events; until then that metric begins with the first delivery")
		return nil
	}
	if err != nil {
		return err
	}
	last := map[string]time.Time{}
	for _, use := range uses {
		if use.LastAt.After(last[use.Source]) {
			last[use.Source] = use.LastAt
		}
	}
	s.handler.SetLastVerified(last)
	return nil
}

// recallNew does that for sources that were added while the program runs. Without
// the database their metric begins with the first delivery.
func (s *service) recallNew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := s.recall(ctx); err != nil {
		s.cfg.logger.Warn("the database does not say when each source last had a delivery", "error", oneLine(err))
	}
}

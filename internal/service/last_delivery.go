package service

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/store/audit"
)

// recallLastDeliveries reads when each source last had a delivery, so that the
// metric survives a restart of the program.
func (s *Service) recallLastDeliveries(ctx context.Context) error {
	if s.handler == nil {
		return nil
	}
	uses, err := audit.KeysUsed(ctx, s.store.Pool())
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		s.cfg.Logger.Warn("the role may not read when each source last had a delivery",
			"remedy", "GRANT SELECT ON lumin.events; until then lumin_source_last_verified_timestamp_seconds is missing for a source before its first delivery")
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

// recallNewSources does the same for sources that were added while the program
// runs. If the database does not answer, their metric begins with the first
// delivery.
func (s *Service) recallNewSources(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := s.recallLastDeliveries(ctx); err != nil {
		s.cfg.Logger.Warn("cannot read when each source last had a delivery", "error", errtext.OneLine(err))
	}
}

package replay

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/estimate"
)

// Store plans, places and carries out orders, and dismisses and restores
// failures. Its methods are safe for concurrent use.
type Store struct {
	store  *store.Store
	pool   *pgxpool.Pool
	limits estimate.Limits // of the time that a plan takes

	inWindow int // in tests, instead of runsInWindow
}

// New returns a Store on the pool of st.
func New(st *store.Store) *Store { return &Store{store: st, pool: st.Pool()} }

// Quick returns a Store that differs from s in its plans: in a large database a
// plan that cannot be counted at once is an estimate. Everything else is exact.
func (s *Store) Quick() *Store { return &Store{store: s.store, pool: s.pool, limits: estimate.Quick()} }

// Glance is like Quick, for pages that should answer within 50 ms.
func (s *Store) Glance() *Store {
	return &Store{store: s.store, pool: s.pool, limits: estimate.Glance()}
}

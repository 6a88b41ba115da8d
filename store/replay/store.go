package replay

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store"
)

// Store plans, places and carries out orders, and dismisses and restores
// failures. Its methods are safe for concurrent use.
type Store struct {
	store *store.Store
	pool  *pgxpool.Pool
}

// New returns a Store on the pool of st.
func New(st *store.Store) *Store { return &Store{store: st, pool: st.Pool()} }

package pages_test

import (
	"context"

	"lumin-ingest/admin/pages"
	"lumin-ingest/store/operate"
)

// config is the configuration of a rig's pages.
func (r *rig) config() pages.Config {
	return pages.Config{
		Store: r.admin, Operator: operate.New(r.admin),
		Caller: func(context.Context) pages.Caller { return r.caller },
	}
}

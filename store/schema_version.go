package store

import "lumin-ingest/migrations"

// SchemaVersion is the newest migration that this program knows.
func SchemaVersion() int { return migrations.Latest() }

-- Indexes for recovered and late events. Both are small, because there are few such
-- events.
--
-- Package migrations builds them before this migration, without a lock that would
-- stop deliveries: see buildFirst. The statements here come last, because they take
-- such a lock even so, until the end of the migration.

-- Reads the table, but stops no delivery.
ALTER TABLE lumin.redeliveries VALIDATE CONSTRAINT redeliveries_differs_check;

-- At most one recovered event per signature request and type. Each delivery of such
-- a type looks here.
CREATE UNIQUE INDEX IF NOT EXISTS events_recovered_idx ON lumin.events (signature_request_id, event_type) WHERE source = 'recovered';

CREATE INDEX IF NOT EXISTS events_late_idx ON lumin.events (id) WHERE late;

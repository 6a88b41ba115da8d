SELECT e.id, e.source, e.payload, e.signature, e.key_id, e.received_at
FROM lumin.events e
WHERE e.signature_request_id IS NULL
  AND e.payload IS NOT NULL
  AND e.received_at <= @as_of::timestamptz
  AND (cardinality(@sources::text[]) = 0 OR e.source = ANY (@sources))
  AND (@received_since::timestamptz IS NULL OR e.received_at >= @received_since)
  AND (@received_until::timestamptz IS NULL OR e.received_at < @received_until)
  AND (cardinality(@ids::bigint[]) = 0 OR e.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids))))
  AND NOT EXISTS (SELECT FROM lumin.events d WHERE d.decoded_from = e.id)
  AND e.id > @after
ORDER BY e.id LIMIT @limit

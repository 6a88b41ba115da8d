SELECT event_key FROM lumin.runs WHERE event_key >= $1 ORDER BY event_key OFFSET $2 LIMIT 1
